//! Traces over TLS: to a receiver that is whom it should be, with the key it is shown, which nobody else reads.

use std::sync::{Arc, Mutex};

use nexus_common::testing::{Authority, eventually};
use nexus_common::tls::{Contents, File, ServerFiles};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::rows::part;
use crate::stack::{PATIENCE, Stack};

const KEY: &str = "tell-nobody";

/// Takes requests over TLS and keeps their heads.
struct Receiver {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Receiver {
    async fn start(stack: &Stack) -> Receiver {
        stack.authority.issue("receiver").write(stack.folder.path(), "receiver");
        let files = ServerFiles {
            cert: File::new("CERT", stack.path("receiver.pem")),
            key: File::new("KEY", stack.path("receiver.key")),
            client_ca: None,
        };
        let config = files.config(&Contents::read(&files.files()).unwrap()).unwrap();
        let (acceptor, listener) =
            (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = format!("https://{}", listener.local_addr().unwrap());
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (told, mut serving) = (Arc::clone(&heads), JoinSet::new());
        serving.spawn(async move {
            let mut lines = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, told) = (acceptor.clone(), Arc::clone(&told));
                lines.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let mut stream = BufReader::new(stream);
                    while let Some(head) = take(&mut stream).await {
                        told.lock().unwrap().push(head);
                    }
                });
            }
        });
        Receiver { address, heads, _serving: serving }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// One request: its head in lower case. It is answered.
async fn take<S: AsyncReadExt + AsyncWriteExt + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
    let (mut head, mut line) = (String::new(), String::new());
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        head += &line.to_lowercase();
    }
    let length = head.split_once("content-length: ")?.1.lines().next()?.parse().ok()?;
    stream.read_exact(&mut vec![0; length]).await.ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok()?;
    stream.flush().await.ok()?;
    Some(head)
}

#[tokio::test]
async fn traces_go_over_tls_with_a_key_that_nobody_else_reads() {
    let stack = Stack::new().await;
    let receiver = Receiver::start(&stack).await;
    let (ca, other) = (stack.path("ca.pem"), stack.write("other.pem", Authority::new("another").pem()));
    let headers = format!("authorization=Bearer%20{KEY},x-tenant=gpus");
    let streams = |name: &str, rows: u64, ca: &std::path::Path| {
        let path = stack.write(name, part(rows, rows + 200));
        // It stays, because what it has to tell when it ends it tells within two seconds or not at all.
        let environment = [
            ("CSV_FILE", path.to_str().unwrap()),
            ("FOLLOW", "true"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.address.as_str()),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.to_str().unwrap()),
            ("OTEL_EXPORTER_OTLP_HEADERS", headers.as_str()),
            ("OTEL_TRACES_SAMPLER_ARG", "1"),
            ("LOG_LEVEL", "trace"),
        ];
        stack.start(&["streamer"], &environment)
    };
    let streamer = streams("a.csv", 0, &ca);
    eventually("the receiver is told", PATIENCE, async || !receiver.heads().is_empty()).await;
    for head in receiver.heads() {
        assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
        for line in ["content-type: application/x-protobuf\r\n", "x-tenant: gpus\r\n"] {
            assert!(head.contains(line), "{head}");
        }
        assert!(head.contains(&format!("authorization: bearer {KEY}\r\n")), "{head}");
        assert!(head.contains(&format!("host: {}\r\n", &receiver.address["https://".len()..])), "{head}");
    }
    assert!(!streamer.log().contains(KEY), "the receiver's key is in the log");
    streamer.stop().await;

    // Somebody else in between is told nothing, above all not the key; rows go their way all the same.
    let before = receiver.heads().len();
    let streamer = streams("b.csv", 200, &other);
    eventually("its rows are published", PATIENCE, async || streamer.log().matches("published batch=").count() == 2)
        .await;
    stack.says(&streamer, "traces cannot be sent").await;
    let log = streamer.log();
    assert!(log.contains("authority that is not trusted"), "{log}");
    assert!(log.contains("OTEL_EXPORTER_OTLP_CERTIFICATE") && !log.contains(KEY), "{log}");
    streamer.stop().await;
    assert_eq!(receiver.heads().len(), before);

    // What cannot be used is said at once, and nothing of a secret with it.
    for (variable, value, words) in [
        ("OTEL_EXPORTER_OTLP_HEADERS", "x=1,tell-nobody", "part 2 has no ="),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/ca.pem", "OTEL_EXPORTER_OTLP_CERTIFICATE=/no/ca.pem: No such file"),
    ] {
        let told =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.address.as_str()), ("CSV_FILE", "/no.csv"), (variable, value)];
        for component in ["streamer", "collector", "gateway"] {
            let (status, said) = stack.refused(&[component], &told).await;
            assert_eq!(status, Some(2), "{component}: {said}");
            assert!(said.contains(words) && !said.contains(KEY), "{component}: {said}");
        }
    }
}
