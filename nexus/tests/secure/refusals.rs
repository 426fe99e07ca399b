//! A wrong certificate is refused, and one line says which and why.

use std::time::Duration;

use nexus_common::servers::Papers;
use nexus_common::testing::{Authority, Issued, eventually};

use crate::stack::{PATIENCE, Stack, keeps_secrets};

/// What a process is told instead of the usual.
type Told = Vec<(&'static str, String)>;

/// Files that are wrong, each in its own way.
fn prepare(stack: &Stack) {
    let (folder, stranger) = (stack.folder.path(), Authority::new("stranger"));
    stack.write("stranger-ca.pem", stranger.pem());
    stack.write("empty", "");
    stranger.issue("client").write(folder, "stranger");
    stack.authority.issue_expired("client").write(folder, "expired");
}

impl Stack {
    fn named(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The command ends with this status and one line that has these words.
    async fn refuses(&self, arguments: &[&str], told: &Told, status: i32, word: &str) {
        let other: Vec<_> = told.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (ended, said) = self.refused(arguments, &other).await;
        let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("nexus")).collect();
        assert_eq!((ended, lines.len()), (Some(status), 1), "{arguments:?} {other:?}: {said}");
        assert!(lines[0].contains(word), "{arguments:?} {other:?}: {said}");
        keeps_secrets(&said, self.folder.path());
    }
}

#[tokio::test]
async fn what_is_wrong_at_start_is_one_line_and_status_two() {
    let stack = Stack::new().await;
    prepare(&stack);
    let (other_key, empty, not_ours) = (stack.named("expired.key"), stack.named("empty"), stack.named("client.key"));
    let cases: [(&str, (&'static str, &str), &str); 9] = [
        ("audit", ("ETCD_CA_FILE", "/no/ca.pem"), "ETCD_CA_FILE=/no/ca.pem: No such file"),
        ("collector", ("ETCD_KEY_FILE", &other_key), "this key is not the one of the certificate in ETCD_CERT_FILE"),
        ("collector", ("ETCD_CERT_FILE", &empty), "holds no certificate in PEM form"),
        ("collector", ("ETCD_KEY_FILE", ""), "set ETCD_KEY_FILE"),
        ("collector", ("ETCD_USER", "nexus"), "ETCD_PASSWORD"),
        ("audit", ("DB_CA_FILE", &not_ours), "holds no certificate in PEM form"),
        ("gateway", ("DB_SSLMODE", "require"), "DB_CA_FILE is not looked at: write verify-full"),
        ("gateway", ("TLS_KEY_FILE", &not_ours), "this key is not the one of the certificate in TLS_CERT_FILE"),
        ("gateway", ("TLS_KEY_FILE", ""), "set TLS_KEY_FILE"),
    ];
    for (command, (name, value), word) in cases {
        stack.refuses(&[command], &vec![(name, value.to_owned())], 2, word).await;
    }
}

#[tokio::test]
async fn a_wrong_certificate_is_refused_with_its_reason() {
    let stack = Stack::new().await;
    prepare(&stack);
    let gateway = stack.start(&["gateway"], &[]);
    stack.until_ready().await;
    for (arguments, ca, cert, key) in [
        (&["members"][..], "ETCD_CA_FILE", "ETCD_CERT_FILE", "ETCD_KEY_FILE"),
        (&["dlq", "list"], "DB_CA_FILE", "DB_CERT_FILE", "DB_KEY_FILE"),
        (&["gpus"], "NEXUS_GATEWAY_CA_FILE", "NEXUS_GATEWAY_CERT_FILE", "NEXUS_GATEWAY_KEY_FILE"),
    ] {
        let stranger = format!("is of an authority that is not trusted: {ca}");
        stack.refuses(arguments, &vec![(ca, stack.named("stranger-ca.pem"))], 1, &stranger).await;
        for name in ["stranger", "expired"] {
            let told = vec![(cert, stack.named(&format!("{name}.pem"))), (key, stack.named(&format!("{name}.key")))];
            stack.refuses(arguments, &told, 1, "the server refuses our certificate").await;
        }
        stack.refuses(arguments, &vec![(cert, String::new()), (key, String::new())], 1, "certificate").await;
    }
    stack.says(&gateway, "a client was refused").await;
}

/// Servers that are somebody else, or were: seen by every new connection.
#[tokio::test]
async fn a_server_with_a_wrong_certificate_is_not_spoken_to() {
    let stack = Stack::new().await;
    let _gateway = stack.start(&["gateway"], &[]);
    stack.until_ready().await;
    let papers = |issued: Issued| Papers { ca: stack.authority.pem().to_owned(), cert: issued.cert, key: issued.key };
    let elsewhere = stack.authority.issue_for("elsewhere", &["elsewhere.example"], Duration::from_secs(3600));
    let expired = stack.authority.issue_expired("expired");
    for (issued, word) in
        [(elsewhere, "is for elsewhere.example, not for 127.0.0.1"), (expired, "the server's certificate has expired")]
    {
        stack.etcd.show(&papers(issued.clone())).unwrap();
        stack.postgres.show(&papers(issued.clone())).unwrap();
        issued.write(stack.folder.path(), "gateway");
        for arguments in [&["members"][..], &["dlq", "list"], &["gpus"]] {
            eventually(format!("{arguments:?} says that it {word}"), PATIENCE, async || {
                stack.refused(arguments, &[]).await.1.contains(word)
            })
            .await;
        }
    }
}
