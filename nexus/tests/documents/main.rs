//! The documents do not lie: what they link to, name and tell people to type is there.
//!
//! Examples of the API are asked of a running gateway in `e2e/manual.rs`; the tables of variables and metrics are
//! rendered and compared in `configuration.rs` and `metrics/`.

#![allow(clippy::unwrap_used)]

mod commands;
mod markdown;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use commands::{Program, targets, typed};
use markdown::Markdown;

/// What is built or fetched, and is not ours to keep true.
const FOREIGN: [&str; 3] = ["target", "node_modules", "dist"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Files of the repository, by their path in it.
fn files(inside: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root().join(inside)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap_or_default();
        let path = inside.join(&name);
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !name.starts_with('.') && !FOREIGN.contains(&name.as_str()) {
            files(&path, found);
        } else if kind.is_file() {
            found.push(path);
        }
    }
}

fn is_document(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "md")
}

fn documents() -> BTreeMap<PathBuf, Markdown> {
    let mut found = Vec::new();
    files(Path::new(""), &mut found);
    let documents = found.into_iter().filter(|path| is_document(path));
    documents.map(|path| (path.clone(), Markdown::of(&fs::read_to_string(root().join(&path)).unwrap()))).collect()
}

/// Where a link of a document leads, as a path in the repository and an anchor; `None` where it leaves it.
fn target(document: &Path, link: &str) -> Option<(PathBuf, String)> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let from = if path.is_empty() { document } else { document.parent().unwrap() };
    let mut whole = PathBuf::new();
    for part in from.join(path).components() {
        match part {
            Component::ParentDir => assert!(whole.pop(), "{}: {link} leaves the repository", document.display()),
            Component::Normal(part) => whole.push(part),
            _ => {}
        }
    }
    Some((whole, anchor.to_owned()))
}

/// Fails with all that is wrong, not with the first.
fn none_of(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn every_link_leads_somewhere() {
    let documents = documents();
    let mut complaints = Vec::new();
    for (document, markdown) in &documents {
        for (line, link) in &markdown.links {
            let Some((path, anchor)) = target(document, link) else { continue };
            let known = documents.get(&path).is_none_or(|aimed| anchor.is_empty() || aimed.anchors.contains(&anchor));
            if !root().join(&path).exists() || !known {
                complaints.push(format!("{}:{line}: nothing is at {link}", document.display()));
            }
        }
    }
    none_of(&complaints);
}

#[test]
fn every_document_is_reached_from_the_readme() {
    let documents = documents();
    let (mut reached, mut next) = (BTreeSet::new(), vec![PathBuf::from("README.md")]);
    while let Some(document) = next.pop() {
        if let Some(markdown) = documents.get(&document).filter(|_| reached.insert(document.clone())) {
            next.extend(markdown.links.iter().filter_map(|(_, link)| target(&document, link)).map(|(path, _)| {
                // A folder is read by its README.
                if root().join(&path).is_dir() { path.join("README.md") } else { path }
            }));
        }
    }
    none_of(
        &documents
            .keys()
            .filter(|path| !reached.contains(*path))
            .map(|path| format!("{} is linked from nowhere", path.display()))
            .collect::<Vec<_>>(),
    );
}

/// Whoever unpacks a release reads its documents there.
#[test]
fn a_release_has_the_documents_that_its_documents_link_to() {
    let workflow = fs::read_to_string(root().join(".github/workflows/release.yml")).unwrap();
    let copied =
        workflow.lines().find_map(|line| line.trim().strip_prefix("cp -r ")?.strip_suffix(" \"$name/\"")).unwrap();
    let packed: Vec<_> = copied.split_whitespace().map(Path::new).collect();
    let is_packed = |path: &Path| packed.iter().any(|packed| path.starts_with(packed));
    let mut complaints = Vec::new();
    for (document, markdown) in documents().iter().filter(|(document, _)| is_packed(document)) {
        for (line, link) in &markdown.links {
            let Some((path, _)) = target(document, link) else { continue };
            if is_document(&path) && !is_packed(&path) {
                complaints.push(format!("{}:{line}: {} is not in a release", document.display(), path.display()));
            }
        }
    }
    assert!(is_packed(Path::new("docs/README.md")) && is_packed(Path::new("CHANGELOG.md")), "{copied}");
    none_of(&complaints);
}

#[test]
fn every_command_can_be_typed() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let (targets, mut program, mut complaints, mut seen) = (targets(&makefile), Program::default(), Vec::new(), 0);
    for (document, markdown) in documents() {
        for (line, code) in &markdown.code {
            for words in typed(code) {
                let refused = match words[0] {
                    "make" => {
                        let named = words[1..]
                            .iter()
                            .take_while(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
                        let mut unknown = named.filter(|word| !word.starts_with('-') && !targets.contains(**word));
                        unknown.next().map(|word| format!("there is no `make {word}`"))
                    }
                    _ => program.refuses(&words),
                };
                seen += 1;
                complaints.extend(refused.map(|why| format!("{}:{line}: {why}", document.display())));
            }
        }
    }
    assert!(seen > 300, "{seen} commands were found: the documents are not read");
    none_of(&complaints);
}

/// `CLUSTER_ID`, not `…_CA_FILE`: capitals, digits and an underscore, whole.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| {
        let capitals = word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        capitals && word.starts_with(|c: char| c.is_ascii_uppercase()) && word.contains('_') && !word.ends_with('_')
    })
}

#[test]
fn every_variable_is_read_by_somebody() {
    let mut all = Vec::new();
    files(Path::new(""), &mut all);
    let mut known: BTreeSet<String> =
        all.iter().filter_map(|path| path.file_stem()?.to_str()).map(str::to_owned).collect();
    // Of the programs in docs/CONFIGURATION.md; of tests, scripts, images and charts where they stand.
    for path in all.iter().filter(|path| !is_document(path) || path.ends_with("docs/CONFIGURATION.md")) {
        let bytes = fs::read(root().join(path)).unwrap();
        known.extend(variables(&String::from_utf8_lossy(&bytes)).map(str::to_owned));
    }
    let mut complaints = Vec::new();
    for path in all.iter().filter(|path| is_document(path)) {
        for (line, text) in (1..).zip(fs::read_to_string(root().join(path)).unwrap().lines()) {
            let unknown = variables(text).filter(|name| !known.contains(*name));
            complaints.extend(unknown.map(|name| format!("{}:{line}: nothing reads {name}", path.display())));
        }
    }
    none_of(&complaints);
}

#[test]
fn every_path_in_code_is_there() {
    let mut complaints = Vec::new();
    for (document, markdown) in documents() {
        for (line, code) in &markdown.code {
            let Some((top, _)) = code.split_once('/').filter(|(top, _)| !top.is_empty() && !top.starts_with('.'))
            else {
                continue;
            };
            // A path and nothing else, of ours, and none that stands for many.
            let plain = !code.contains([' ', '*', '{', '…', '<', ':', '$', '(', '=']);
            if plain && !FOREIGN.contains(&top) && root().join(top).is_dir() && !root().join(code).exists() {
                complaints.push(format!("{}:{line}: there is no {code}", document.display()));
            }
        }
    }
    none_of(&complaints);
}

#[test]
fn variables_are_told_from_words() {
    let text = "CLUSTER_ID=x, `…_CA_FILE`, ETCD_…, $TLS_KEY_FILE, NATS, nexus_gpu, DCGM_FI_DEV_GPU_UTIL";
    assert!(variables(text).eq(["CLUSTER_ID", "TLS_KEY_FILE", "DCGM_FI_DEV_GPU_UTIL"]));
}
