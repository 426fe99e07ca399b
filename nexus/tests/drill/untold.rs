//! A backup of which nobody can be told is a backup all the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::plant::{Plant, account};

/// Debian has the node exporter's folder for root alone, and the units run as postgres.
#[tokio::test]
async fn a_folder_that_cannot_be_written_to_costs_no_backup_and_old_ones_go() {
    let plant = Plant::new().await;
    let (endpoint, port) = (plant.world.etcd.endpoint(), plant.world.postgres.port().to_string());
    let (snapshot, base) = (plant.back_up_etcd().await, plant.back_up_postgres().await);
    let folder = plant.backups.with_file_name("told");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    // root may write to any folder, and a file is none.
    let file = plant.backups.with_file_name("file");
    fs::write(&file, "").unwrap();
    let etcd = [("ETCD_ENDPOINTS", endpoint.as_str())];
    let postgres =
        [("DB_HOST", "127.0.0.1"), ("DB_PORT", port.as_str()), ("DB_USER", "nexus_backup"), ("DB_PASSWORD", "b'ackup")];
    for (script, by, server, told, old) in
        [("etcd.sh", None, &etcd[..], &file, &snapshot), ("postgres.sh", account(), &postgres[..], &folder, &base)]
    {
        let told = told.to_str().unwrap();
        let environment = [server, &[("BACKUP_METRICS_DIR", told), ("BACKUP_KEEP", "1")]].concat();
        let said = plant.script(script, by, &[], &environment).await;
        assert_eq!(said.status, 0, "{}", said.text);
        assert!(said.text.contains(&format!("BACKUP_METRICS_DIR={told}")), "{}", said.text);
        assert!(!old.exists(), "{} is kept: {}", old.display(), said.text);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}
