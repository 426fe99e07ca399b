//! PostgreSQL over TLS: what each mode checks, and certificates that change under a pool.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

use nexus_common::db::{self, SslMode};
use nexus_common::servers::Papers;
use nexus_common::testing::{Authority, TestPostgres, eventually, folder, postgres, postgres_with};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    authority: Authority,
    postgres: TestPostgres,
    folder: TempDir,
}

impl Scene {
    /// A server whose certificate is for 127.0.0.1, and our own.
    async fn new() -> Scene {
        let (authority, folder) = (Authority::new("ours"), folder());
        let issued = authority.issue_for("postgres", &["127.0.0.1"], Duration::from_secs(3600));
        let papers = Papers { ca: authority.pem().to_owned(), cert: issued.cert, key: issued.key };
        let postgres = postgres_with(|options| options.papers = Some(papers)).await;
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        authority.issue("client").write(folder.path(), "client");
        Scene { authority, postgres, folder }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.path().join(name))
    }

    fn config(&self, mode: SslMode) -> db::Config {
        let checks = matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull);
        db::Config {
            ssl_mode: mode,
            ca_file: self.path("ca.pem").filter(|_| checks),
            cert_file: self.path("client.pem"),
            key_file: self.path("client.key"),
            ..self.postgres.config()
        }
    }
}

/// What the server says of a connection: whether it is encrypted, and the number of our certificate.
async fn line(config: &db::Config) -> Result<(bool, Option<String>), String> {
    seen(&db::pool(config, 1).unwrap()).await
}

async fn seen(pool: &deadpool_postgres::Pool) -> Result<(bool, Option<String>), String> {
    let client = pool.get().await.map_err(|error| db::Error::from(error).to_string())?;
    let sql = "SELECT ssl, client_serial::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let row = client.query_one(sql, &[]).await.map_err(|error| db::Error::from(error).to_string())?;
    Ok((row.get(0), row.get(1)))
}

#[tokio::test]
async fn each_mode_checks_what_it_says() {
    let scene = Scene::new().await;
    for mode in [SslMode::Prefer, SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
        let (encrypted, serial) = line(&scene.config(mode)).await.unwrap();
        assert!(encrypted && serial.is_some(), "{mode:?}");
    }
    // The owner is let in over TLS alone.
    let plain = db::Config { cert_file: None, key_file: None, ..scene.config(SslMode::Disable) };
    assert!(line(&plain).await.unwrap_err().contains("no encryption"));

    let other_name = |mode| db::Config { host: "localhost".to_owned(), ..scene.config(mode) };
    assert!(line(&other_name(SslMode::VerifyCa)).await.is_ok());
    let said = line(&other_name(SslMode::VerifyFull)).await.unwrap_err();
    assert!(said.contains("not for localhost"), "{said}");

    std::fs::write(scene.folder.path().join("ca.pem"), Authority::new("stranger").pem()).unwrap();
    assert!(line(&scene.config(SslMode::Require)).await.is_ok());
    for mode in [SslMode::VerifyCa, SslMode::VerifyFull] {
        let said = line(&scene.config(mode)).await.unwrap_err();
        assert!(said.contains("not trusted: DB_CA_FILE"), "{mode:?}: {said}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_spoken_to_where_that_may_be() {
    let postgres = postgres().await;
    let config = |ssl_mode| db::Config { ssl_mode, ..postgres.config() };
    for mode in [SslMode::Disable, SslMode::Prefer] {
        assert_eq!(line(&config(mode)).await, Ok((false, None)), "{mode:?}");
    }
    let said = line(&config(SslMode::Require)).await.unwrap_err();
    assert!(said.contains("does not support TLS; DB_SSLMODE asks for it"), "{said}");
}

/// The password is proved to this server and no other, and a statement is ended over TLS too.
#[tokio::test]
async fn the_password_is_bound_and_statements_can_be_ended() {
    let scene = Scene::new().await;
    let access = scene.config(SslMode::VerifyFull).access().unwrap();
    let mut driver = scene.postgres.owner_config();
    driver.ssl_mode(tokio_postgres::config::SslMode::Require);
    driver.channel_binding(tokio_postgres::config::ChannelBinding::Require);
    let (client, connection) = driver.connect(access.connector()).await.unwrap();
    let asked = async {
        let sleep = client.batch_execute("SELECT pg_sleep(60)");
        let end = async {
            eventually("the statement runs and is ended", PATIENCE, async || {
                client.cancel_token().cancel_query(access.connector()).await.unwrap();
                false
            })
            .await;
        };
        tokio::select! { ended = sleep => ended.unwrap_err(), () = end => unreachable!() }
    };
    tokio::select! {
        ended = asked => assert_eq!(ended.code().unwrap().code(), "57014"),
        _ = connection => panic!("the connection ended"),
    }
}

#[tokio::test]
async fn a_pool_goes_over_to_another_certificate() {
    let scene = Scene::new().await;
    let pool = db::pool(&scene.config(SslMode::VerifyFull), 1).unwrap();
    let (_, before) = seen(&pool).await.unwrap();
    assert_eq!(seen(&pool).await.unwrap().1, before, "a connection is used again");
    let next = Authority::new("next");
    let both = format!("{}{}", scene.authority.pem(), next.pem());
    std::fs::write(scene.folder.path().join("ca.pem"), &both).unwrap();
    next.issue("client").write(scene.folder.path(), "client");
    let papers = Papers { ca: both, ..next.papers("postgres") };
    scene.postgres.show(&papers).unwrap();
    eventually("the server sees the new certificate", PATIENCE, async || {
        seen(&pool).await.is_ok_and(|(encrypted, serial)| encrypted && serial != before)
    })
    .await;
}
