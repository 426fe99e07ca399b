//! Files that grow, are renamed, replaced and cut while they are read.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use super::*;
use crate::source::Discovery;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> File {
        fs::write(self.path(name), text).unwrap();
        OpenOptions::new().append(true).open(self.path(name)).unwrap()
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn discovery(&self, spec: &str) -> Discovery {
        Discovery::new(self.path(spec).to_str().unwrap(), Options::default()).unwrap()
    }
}

fn follow() -> Options {
    Options { follow: true, ..Options::default() }
}

fn row(gpu: u32) -> String {
    long_row("h", gpu, "SM_CLOCK", "1980")
}

/// The GPUs of the rows up to where the source waits or ends.
fn gpus(source: &mut Source) -> (Vec<String>, Option<End>) {
    let (rows, end) = drain(source);
    (rows.into_iter().map(|row| record(row).described.gpu.gpu.clone()).collect(), end)
}

fn some(gpus: &[&str], end: Option<End>) -> (Vec<String>, Option<End>) {
    (gpus.iter().map(|&gpu| gpu.to_owned()).collect(), end)
}

fn sources(discovery: &mut Discovery) -> Vec<Source> {
    discovery.poll().into_iter().map(|found| found.source.unwrap()).collect()
}

#[test]
fn growth_is_read_and_half_a_line_waits() {
    let folder = Folder::new();
    let mut file = folder.write("a.csv", LONG);
    let mut source = open(&folder.path("a.csv"), &follow());
    assert_eq!((gpus(&mut source), source.fingerprint()), (some(&[], None), None));
    let (first, second) = (row(0), row(1));
    file.write_all(&first.as_bytes()[..50]).unwrap();
    assert_eq!((gpus(&mut source), source.fingerprint()), (some(&[], None), None));
    file.write_all(&first.as_bytes()[50..first.len() - 1]).unwrap();
    assert_eq!(gpus(&mut source), some(&[], None), "the line may go on");
    file.write_all(b"\n").unwrap();
    file.write_all(second.as_bytes()).unwrap();
    assert_eq!(gpus(&mut source), some(&["0", "1"], None));
    assert!(source.fingerprint().is_some());
    assert_eq!(gpus(&mut source), some(&[], None));
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_its_successor() {
    let folder = Folder::new();
    let mut old = folder.write("a.csv", &format!("{LONG}{}", row(0)));
    let mut source = open(&folder.path("a.csv"), &follow());
    assert_eq!(gpus(&mut source), some(&["0"], None));
    folder.rename("a.csv", "a.csv.1");
    old.write_all(row(1).as_bytes()).unwrap();
    assert_eq!(gpus(&mut source), some(&["1"], None), "renamed: its writer still has it");
    folder.write("a.csv", &format!("{LONG}{}", row(9)));
    assert_eq!(gpus(&mut source), some(&[], None), "replaced: one look more");
    old.write_all(row(2).as_bytes()).unwrap();
    old.write_all(row(3).trim_end().as_bytes()).unwrap();
    assert_eq!(gpus(&mut source), some(&["2"], None));
    assert_eq!(gpus(&mut source), some(&["3"], Some(End::Rotated)), "the last line has no end and will get none");
    assert_eq!(gpus(&mut source), some(&[], Some(End::Rotated)));
}

#[test]
fn a_deleted_file_ends() {
    let folder = Folder::new();
    folder.write("a.csv", &format!("{LONG}{}", row(0)));
    let mut source = open(&folder.path("a.csv"), &follow());
    fs::remove_file(folder.path("a.csv")).unwrap();
    assert_eq!(gpus(&mut source), some(&["0"], None));
    assert_eq!(gpus(&mut source), some(&[], Some(End::Rotated)));
}

#[test]
fn a_cut_file_ends_even_when_it_has_grown_past_the_place() {
    for successor in ["", "x", &format!("{LONG}{}{}{}", row(5), row(6), row(7))] {
        let folder = Folder::new();
        folder.write("a.csv", &format!("{LONG}{}", row(0)));
        let mut source = open(&folder.path("a.csv"), &follow());
        assert_eq!(gpus(&mut source), some(&["0"], None));
        // Truncates and writes, the file itself stays.
        fs::write(folder.path("a.csv"), successor).unwrap();
        assert_eq!(gpus(&mut source), some(&[], Some(End::Truncated)));
    }
}

#[test]
fn gzip_is_not_followed() {
    let folder = Folder::new();
    fs::write(folder.path("a.csv.gz"), gzip(format!("{LONG}{}", row(0)).as_bytes())).unwrap();
    let mut discovery = folder.discovery("");
    let mut found = sources(&mut discovery);
    assert_eq!(gpus(&mut found[0]), some(&["0"], Some(End::Complete)));
    drop(found);
    assert!(discovery.poll().is_empty(), "read to its end, and not changed since");
    let text = format!("{LONG}{}{}", row(0), row(1));
    fs::write(folder.path("a.csv.gz"), gzip(text.as_bytes())).unwrap();
    assert_eq!(gpus(&mut sources(&mut discovery)[0]), some(&["0", "1"], Some(End::Complete)));
}

#[test]
fn files_are_found_once_and_when_their_first_row_is_complete() {
    let folder = Folder::new();
    let mut discovery = folder.discovery("");
    assert!(discovery.poll().is_empty());
    let mut file = folder.write("a.csv", &LONG[..20]);
    assert!(discovery.poll().is_empty(), "half a header");
    file.write_all(&LONG.as_bytes()[20..]).unwrap();
    assert!(discovery.poll().is_empty(), "no row yet");
    file.write_all(row(0).as_bytes()).unwrap();
    folder.write("b.csv", &format!("{LONG}{}", row(1)));
    let mut found = sources(&mut discovery);
    assert_eq!(found.len(), 2);
    assert_eq!(gpus(&mut found[1]), some(&["1"], None));
    assert!(discovery.poll().is_empty());
    found.remove(0);
    let mut again = sources(&mut discovery);
    assert_eq!(gpus(&mut again[0]), some(&["0"], None), "nobody reads it any more");
}

#[test]
fn rotation_brings_the_new_file_while_the_old_one_is_read() {
    let folder = Folder::new();
    let mut old = folder.write("a.csv", &format!("{LONG}{}", row(0)));
    let mut discovery = folder.discovery("*.csv");
    let mut first = sources(&mut discovery).remove(0);
    folder.rename("a.csv", "a.csv.1");
    assert!(discovery.poll().is_empty(), "the old name is gone, the new one is not ours");
    folder.write("a.csv", &format!("{LONG}{}", row(7)));
    let mut second = sources(&mut discovery).remove(0);
    old.write_all(row(1).as_bytes()).unwrap();
    assert_eq!(gpus(&mut first), some(&["0", "1"], None));
    assert_eq!(gpus(&mut first), some(&[], Some(End::Rotated)));
    assert_eq!(gpus(&mut second), some(&["7"], None));
    drop(first);
    assert!(discovery.poll().is_empty());
}

#[test]
fn a_cut_file_is_found_again() {
    let folder = Folder::new();
    folder.write("a.csv", &format!("{LONG}{}{}", row(0), row(1)));
    let mut discovery = folder.discovery("a.csv");
    let mut first = sources(&mut discovery).remove(0);
    assert_eq!(gpus(&mut first), some(&["0", "1"], None));
    fs::write(folder.path("a.csv"), format!("{LONG}{}", row(2))).unwrap();
    assert!(discovery.poll().is_empty(), "the source of its old content still exists");
    assert_eq!(gpus(&mut first), some(&[], Some(End::Truncated)));
    drop(first);
    assert_eq!(gpus(&mut sources(&mut discovery)[0]), some(&["2"], None));
}

#[test]
fn a_file_of_another_kind_is_told_once_until_it_is_replaced() {
    let folder = Folder::new();
    let mut file = folder.write("a.csv", "name,age\nbob,7\n");
    let mut discovery = folder.discovery("");
    let told = discovery.poll();
    assert!(matches!(told[0].source, Err(Error::Header { .. })));
    file.write_all(b"eve,8\n").unwrap();
    assert!(discovery.poll().is_empty());
    fs::write(folder.path("a.csv"), "").unwrap();
    assert!(discovery.poll().is_empty());
    fs::write(folder.path("a.csv"), format!("{LONG}{}", row(0))).unwrap();
    assert_eq!(sources(&mut discovery).len(), 1);
}
