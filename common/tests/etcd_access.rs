//! Who is let into etcd: users with passwords, tokens that are forgotten, certificates that change under open watches and
//! leases.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use etcd_client::{Permission, PermissionType};
use nexus_common::config::EtcdAccess;
use nexus_common::etcd::{Change, Client, Error, GetOptions, Scope, Txn, TxnOp, follow};
use nexus_common::servers::Papers;
use nexus_common::testing::{Authority, TestEtcd, etcd, etcd_with, eventually, folder};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(60);

/// Asks everybody who he is, and lets `nexus` see and change what is below `/telemetry/`.
async fn guard(etcd: &TestEtcd, password: &str) {
    let mut admin = etcd_client::Client::connect([etcd.endpoint()], None).await.unwrap();
    admin.user_add("root", "the root's", None).await.unwrap();
    admin.user_grant_role("root", "root").await.unwrap();
    admin.role_add("nexus").await.unwrap();
    let all = Permission::new(PermissionType::Readwrite, "/telemetry/").with_prefix();
    admin.role_grant_permission("nexus", all).await.unwrap();
    admin.user_add("nexus", password, None).await.unwrap();
    admin.user_grant_role("nexus", "nexus").await.unwrap();
    admin.auth_enable().await.unwrap();
}

async fn as_root(etcd: &TestEtcd) -> etcd_client::Client {
    let root = etcd_client::ConnectOptions::new().with_user("root", "the root's");
    etcd_client::Client::connect([etcd.endpoint()], Some(root)).await.unwrap()
}

fn known_by(file: &Path) -> EtcdAccess {
    EtcdAccess {
        etcd_user: Some("nexus".to_owned()),
        etcd_password_file: Some(file.to_owned()),
        ..EtcdAccess::default()
    }
}

async fn put(client: &Client, key: &str) -> Result<(), Error> {
    client.txn(Txn::new().and_then([TxnOp::put(key, "1", None)])).await.map(drop)
}

/// Follows a prefix, and tells the keys that were put.
fn listen(client: &Client, prefix: &str) -> (JoinSet<()>, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    let (client, scope, mut tasks) = (client.clone(), Scope::all("keys", prefix), JoinSet::new());
    tasks.spawn(async move {
        follow(&client, &scope, |change| {
            match change {
                Change::Put(kv) => tell.send(kv.key_str().unwrap().to_owned()).unwrap(),
                Change::Resumed => tell.send("stands".to_owned()).unwrap(),
                _ => {}
            }
            true
        })
        .await;
    });
    (tasks, told)
}

async fn hears(told: &mut mpsc::UnboundedReceiver<String>, word: &str) {
    let heard = async { while told.recv().await.unwrap() != word {} };
    tokio::time::timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("{word} is not heard"));
}

#[tokio::test]
async fn a_user_is_asked_for_a_password_and_may_do_what_his_role_may() {
    let (mut etcd, folder) = (etcd().await, folder());
    let file = folder.path().join("password");
    fs::write(&file, "first\n").unwrap();
    // Who is known where nobody is asked is let in like anybody.
    let client = Client::with(&etcd.endpoints(), &known_by(&file)).unwrap();
    put(&client, "/telemetry/early").await.unwrap();
    guard(&etcd, "first").await;
    eventually("it logs in once it is asked to", PATIENCE, async || put(&client, "/telemetry/a").await.is_ok()).await;
    let elsewhere = put(&client, "/elsewhere").await.unwrap_err();
    assert!(matches!(&elsewhere, Error::Refused(text) if text.contains("permission denied")), "{elsewhere}");

    let nobody = Client::connect(&etcd.endpoints()).await.unwrap();
    let refused = put(&nobody, "/telemetry/b").await.unwrap_err().to_string();
    assert!(refused.contains("ETCD_USER"), "{refused}");

    // A server that was started again has forgotten all tokens: calls, watches and leases go on with new ones.
    let (_follower, mut told) = listen(&client, "/telemetry/");
    hears(&mut told, "stands").await;
    let lease = client.grant(Duration::from_secs(60)).await.unwrap();
    let kept = client.keep_alive(lease);
    let story = async {
        etcd.restart().await.unwrap();
        eventually("it logs in again", PATIENCE, async || put(&client, "/telemetry/c").await.is_ok()).await;
        hears(&mut told, "/telemetry/c").await;
        assert!(client.renew(lease.id).await.unwrap());

        // The password changes: nothing goes until the file has it, and nothing is started again.
        as_root(&etcd).await.user_change_password("nexus", "second").await.unwrap();
        let refused = Client::with(&etcd.endpoints(), &known_by(&file)).unwrap();
        let refused = put(&refused, "/telemetry/d").await.unwrap_err();
        let said = refused.to_string();
        assert!(refused.is_transient() && said.contains("authentication failed") && !said.contains("first"), "{said}");
        fs::write(&file, "second").unwrap();
        eventually("it uses the new password", PATIENCE, async || put(&client, "/telemetry/d").await.is_ok()).await;
        hears(&mut told, "/telemetry/d").await;
    };
    tokio::select! { () = story => {}, () = kept => panic!("the lease is lost") }
}

#[tokio::test]
async fn watches_and_leases_go_over_to_another_certificate() {
    let (authority, next, folder) = (Authority::new("ours"), Authority::new("next"), folder());
    let both = format!("{}{}", authority.pem(), next.pem());
    let papers = Papers { ca: both.clone(), ..authority.papers("etcd") };
    let mut etcd = etcd_with(|options| options.papers = Some(papers)).await;
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, both).unwrap();
    let [cert, key] = authority.issue("client").write(folder.path(), "client");
    let access = EtcdAccess {
        etcd_ca_file: Some(ca),
        etcd_cert_file: Some(cert),
        etcd_key_file: Some(key),
        ..EtcdAccess::default()
    };
    let client = Client::with(&etcd.endpoints(), &access).unwrap();
    let (_follower, mut told) = listen(&client, "/telemetry/");
    hears(&mut told, "stands").await;
    let lease = client.grant(Duration::from_secs(20)).await.unwrap();
    let kept = client.keep_alive(lease);
    let story = async {
        // The watch goes over to the new certificate by itself, though nothing broke the connection.
        next.issue("client").write(folder.path(), "client");
        hears(&mut told, "stands").await;
        put(&client, "/telemetry/a").await.unwrap();
        hears(&mut told, "/telemetry/a").await;
        let papers = Papers { ca: next.pem().to_owned(), ..next.papers("etcd") };
        etcd.show(&papers).unwrap();
        etcd.restart().await.unwrap();
        eventually("it is let in", PATIENCE, async || put(&client, "/telemetry/b").await.is_ok()).await;
        hears(&mut told, "/telemetry/b").await;
        let mut left = client.time_left(lease.id).await.unwrap();
        eventually("the lease is renewed", PATIENCE, async || {
            let before = std::mem::replace(&mut left, client.time_left(lease.id).await.unwrap());
            left > before
        })
        .await;
    };
    tokio::select! { () = story => {}, () = kept => panic!("the lease is lost") }

    // Who was not told of the change is refused, and hears why.
    let [cert, key] = authority.issue("client").write(folder.path(), "old");
    let old = EtcdAccess { etcd_cert_file: Some(cert), etcd_key_file: Some(key), ..access };
    let old = Client::with(&etcd.endpoints(), &old).unwrap();
    eventually("it hears that its certificate is refused", PATIENCE, async || {
        let refused = old.get("/telemetry/", GetOptions::new()).await.unwrap_err().to_string();
        refused.contains("refuses our certificate") && refused.contains("ETCD_CERT_FILE")
    })
    .await;
}
