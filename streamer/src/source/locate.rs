//! CSV_FILE: a file, a folder, a glob or `-` becomes a list of sources.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::Error;

/// Where a source is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// Standard input, which can be neither resumed nor looped.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Stdin => f.write_str("standard input"),
            Location::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The sources CSV_FILE names, in name order; never an empty list.
///
/// Empty files of a folder or a glob are left out, unless there are no others.
pub fn locate(spec: &str) -> Result<Vec<Location>, Error> {
    if spec == "-" {
        return Ok(vec![Location::Stdin]);
    }
    let found = candidates(spec)?;
    let Some(first) = found.first() else {
        return Err(none(spec));
    };
    let filled: Vec<_> = found.iter().filter(|path| !is_empty(path)).cloned().map(Location::File).collect();
    match filled.is_empty() {
        true => Err(Error::Empty { name: first.display().to_string() }),
        false => Ok(filled),
    }
}

/// The files CSV_FILE names now, empty ones too, in name order; none is not an error.
pub(crate) fn candidates(spec: &str) -> Result<Vec<PathBuf>, Error> {
    let path = Path::new(spec);
    let mut found = match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => folder(path).map_err(|cause| Error::read(spec, cause))?,
        Ok(_) => vec![path.to_owned()],
        Err(_) if is_pattern(spec) => matches(spec)?,
        Err(_) => Vec::new(),
    };
    found.sort();
    Ok(found)
}

fn none(spec: &str) -> Error {
    let spec = spec.to_owned();
    match Path::new(&spec).is_dir() {
        true => Error::NoCsv { spec },
        false if is_pattern(&spec) => Error::NoMatch { spec },
        false => Error::Missing { spec },
    }
}

fn is_pattern(spec: &str) -> bool {
    spec.contains(['*', '?', '['])
}

fn folder(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if is_csv(&path) && !path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}

fn is_csv(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    name.ends_with(".csv") || name.ends_with(".csv.gz")
}

fn matches(spec: &str) -> Result<Vec<PathBuf>, Error> {
    let paths =
        glob::glob(spec).map_err(|error| Error::Pattern { spec: spec.to_owned(), reason: error.to_string() })?;
    // An unreadable folder on the way holds no file for us.
    Ok(paths.filter_map(Result::ok).filter(|path| !path.is_dir()).collect())
}

fn is_empty(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &[Location]) -> Vec<String> {
        let name = |location: &Location| match location {
            Location::Stdin => "-".to_owned(),
            Location::File(path) => path.file_name().unwrap().to_string_lossy().into_owned(),
        };
        found.iter().map(name).collect()
    }

    #[test]
    fn a_folder_gives_its_csv_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.csv.gz", "c.txt", "d.csv.1"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        fs::create_dir(folder.path().join("e.csv")).unwrap();
        fs::write(folder.path().join("empty.csv"), "").unwrap();
        let spec = folder.path().to_str().unwrap();
        assert_eq!(names(&locate(spec).unwrap()), ["a.csv.gz", "b.csv"]);
        assert_eq!(names(&locate(&format!("{spec}/*.txt")).unwrap()), ["c.txt"]);
        assert_eq!(names(&locate(&format!("{spec}/b.csv")).unwrap()), ["b.csv"]);
        assert_eq!(locate("-").unwrap(), [Location::Stdin]);
    }

    #[test]
    fn what_is_not_there_is_one_clear_line() {
        let folder = tempfile::tempdir().unwrap();
        let spec = folder.path().to_str().unwrap();
        fs::write(folder.path().join("empty.csv.1"), "").unwrap();
        let message = |spec: &str| {
            let message = locate(spec).unwrap_err().to_string();
            assert!(!message.contains('\n'), "{message}");
            message
        };
        assert!(message(spec).contains("no *.csv"));
        assert!(message(&format!("{spec}/*.csv")).contains("no file matches"));
        assert!(message(&format!("{spec}/gone.csv")).contains("no such file"));
        assert!(message(&format!("{spec}/a***b")).contains("not a pattern"));
        assert!(message(&format!("{spec}/empty.csv.1")).contains("is empty"));
    }
}
