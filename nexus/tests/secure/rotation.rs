//! Certificates are changed under a running pipeline, and no process is started again.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use nexus_common::servers::Papers;
use nexus_common::testing::{Authority, eventually};

use crate::rows::{file, lines};
use crate::stack::{PATIENCE, Stack};

/// The gateway shows a new certificate to whoever comes next; one that cannot be used is said, and not shown.
#[tokio::test]
async fn the_gateway_shows_what_its_file_holds() {
    let stack = Stack::new().await;
    let gateway = stack.start(&["gateway"], &[]);
    stack.until_ready().await;
    let before = stack.shown().await.unwrap();
    // A client that is connected stays.
    let kept = stack.line().await.unwrap();

    let ends = stack.expiries().await["gateway"];
    let next = stack.authority.issue_for("gateway", &["127.0.0.1", "localhost"], Duration::from_secs(5 * 86_400));
    // Half a rotation: the new certificate with the old key.
    stack.write("gateway.pem", &next.cert);
    stack.says(&gateway, "those before stay in use").await;
    assert_eq!(stack.shown().await.as_ref(), Some(&before));
    assert_eq!(stack.expiries().await["gateway"], ends, "told is what is in use");
    next.write(stack.folder.path(), "gateway");
    eventually("the new certificate is shown", PATIENCE, async || stack.shown().await.as_ref() == Some(&next.der))
        .await;
    assert!(stack.expiries().await["gateway"] > ends + 3.0 * 86_400.0);
    assert_eq!(kept.get_ref().1.peer_certificates().unwrap()[0], before);

    // Clients of another authority come in once its certificate stands beside the old one, and only then.
    let other = Authority::new("next");
    other.issue("client").write(stack.folder.path(), "client");
    assert!(stack.get("/live").await.is_none(), "a stranger is let in");
    let both = stack.write("ca.pem", format!("{}{}", stack.authority.pem(), other.pem()));
    assert!(both.exists());
    eventually("the new client is let in", PATIENCE, async || stack.get("/live").await.is_some()).await;
    gateway.stop().await;
}

/// etcd and PostgreSQL go over to another authority while rows flow: bundles first, then our certificate, then theirs.
#[tokio::test]
async fn another_authority_takes_over() {
    let mut stack = Stack::new().await;
    let collector = stack.start(&["collector"], &[]);
    let gateway = stack.start(&["gateway"], &[]);
    let export = stack.write("export.csv", file(400));
    let streamer = stack.start(&["streamer"], &[("CSV_FILE", export.to_str().unwrap()), ("FOLLOW", "true")]);
    let more = |from, to| {
        let mut export = OpenOptions::new().append(true).open(&export).unwrap();
        export.write_all(lines(from, to).as_bytes()).unwrap();
    };
    stack.until_accounted(400).await;
    stack.until_ready().await;

    let next = Authority::new("next");
    let both = format!("{}{}", stack.authority.pem(), next.pem());
    stack.write("ca.pem", &both);
    more(400, 800);
    for process in [&streamer, &collector, &gateway] {
        stack.says(process, "were read anew").await;
    }
    next.issue("client").write(stack.folder.path(), "client");
    more(800, 1_200);
    // From here on the servers know the new authority alone. Who still shows the old certificate is refused.
    let papers = |name: &str| Papers { ca: next.pem().to_owned(), ..next.papers(name) };
    stack.postgres.show(&papers("postgres")).unwrap();
    stack.etcd.show(&papers("etcd")).unwrap();
    stack.etcd.restart().await.unwrap();
    more(1_200, 1_600);

    stack.until_accounted(1_600).await;
    stack.start(&["audit"], &[]).succeeds().await;
    eventually("the gateway answers what was stored since", PATIENCE, async || {
        stack.get("/health").await.is_some_and(|(head, _)| head.starts_with("HTTP/1.1 200"))
            && stack.values("host-000", 3).await.len() == 100
    })
    .await;
    // Nobody was started again: these are the processes of the beginning, and they end well.
    for process in [streamer, collector, gateway] {
        process.stop().await;
    }
}
