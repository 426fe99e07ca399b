//! A statement under way, and what becomes of it when nobody waits for the answer any more.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Object;
use nexus_common::db::Access;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// How long the server may take to hear that a statement is to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection on which a statement runs. Dropped before [`Running::done`], because the client hung up or waited too
/// long, it ends the statement on the server and the connection with it: the next user must not wait for an answer that
/// is not his.
pub(super) struct Running {
    /// Away once it was given back.
    connection: Option<Object>,
    /// The right to run something heavy: kept until the server has been told, so that what is cancelled and what is
    /// started are never more than may be.
    permit: Option<Arc<OwnedSemaphorePermit>>,
    access: Access,
    tasks: TaskTracker,
}

impl Running {
    pub(super) fn new(
        connection: Object,
        permit: Option<Arc<OwnedSemaphorePermit>>,
        access: &Access,
        tasks: &TaskTracker,
    ) -> Self {
        Running { connection: Some(connection), permit, access: access.clone(), tasks: tasks.clone() }
    }

    /// The connection, for as long as the statement runs.
    pub(super) fn connection(&self) -> Option<&Object> {
        self.connection.as_ref()
    }

    /// The answer is here: the connection may be used again.
    pub(super) fn done(mut self) {
        self.connection = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // Out of the pool at once: a connection that is being cancelled is nobody's.
        let client = Object::take(connection);
        let (token, permit, connector) = (client.cancel_token(), self.permit.take(), self.access.connector());
        // Without a runtime the process is ending, and the server sees the connection close.
        let Ok(runtime) = Handle::try_current() else { return };
        let cancel = async move {
            match timeout(PATIENCE, token.cancel_query(connector)).await {
                Ok(Ok(())) => tracing::debug!("a statement nobody waits for was ended"),
                Ok(Err(error)) => tracing::debug!(%error, "a statement nobody waits for could not be ended"),
                Err(_) => tracing::debug!("a statement nobody waits for could not be ended in time"),
            }
            drop((client, permit));
        };
        drop(self.tasks.spawn_on(cancel, &runtime));
    }
}
