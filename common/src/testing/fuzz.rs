//! Input that nobody should send: a corpus of nasty files, and what becomes of them by accident.
//!
//! A target is a function that panics when something is wrong. It is tried with every file of a corpus folder, then with
//! `FUZZ_CASES` mutations of them (some thousand unless told otherwise), chosen by `FUZZ_SEED`. What makes it panic is
//! made small and shown; with `FUZZ_CASES` given it is also kept beside the corpus, so that it becomes part of it.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Mutations where nobody says how many.
const FEW: u64 = 2_000;
/// The longest input that is made; a corpus file may be longer.
const LONGEST: usize = 64 << 10;
/// Tries that making an input smaller may cost.
const SHRINKS: usize = 2_000;

/// What mutations put in: numbers at the edges, and pieces of the formats.
const TOKENS: &[&str] = &[
    "",
    "\0",
    "\n",
    "\r\n",
    "\r",
    "\"",
    "\"\"",
    "'",
    ",",
    ";",
    "=",
    "{",
    "}",
    "[",
    "]",
    ":",
    "\\",
    "\\u0000",
    "\\ud800",
    "/",
    "_",
    "-",
    ".",
    "%",
    "%2F",
    "%00",
    "%ff",
    "+",
    "&",
    "#",
    " ",
    "\t",
    "\u{feff}",
    "\u{2028}",
    "\u{1F4A9}",
    "é",
    "0",
    "-0",
    "1",
    "-1",
    "1e400",
    "-1e400",
    "1e-400",
    "0.1",
    "nan",
    "NaN",
    "inf",
    "-inf",
    "Infinity",
    "null",
    "true",
    "127",
    "255",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
    "0x10",
    "1_000",
    "N/A",
    "[N/A]",
    "[Not Supported]",
    "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
    "0000-01-01T00:00:00Z",
    "2024-02-29",
    "2023-02-29",
    "2016-12-31T23:59:60Z",
    "now",
    "now-1h",
    "-1h",
    "1ns",
    "{}",
    "[]",
    "[[[[[[[[",
    "{\"v\":2}",
    "\"v\":",
    "\"v\":1,",
];

/// Tries the target with the corpus in this folder and with mutations of it.
///
/// # Panics
/// When the target does, with the input.
pub fn fuzz(folder: impl AsRef<Path>, target: impl Fn(&[u8])) {
    fuzz_with(folder.as_ref(), 1, &target);
}

/// The same with a fiftieth of the mutations: for a target that asks a server.
///
/// # Panics
/// When the target does, with the input.
pub fn fuzz_server(folder: impl AsRef<Path>, target: impl Fn(&[u8])) {
    fuzz_with(folder.as_ref(), 50, &target);
}

fn fuzz_with(folder: &Path, share: u64, target: &impl Fn(&[u8])) {
    let number = |name: &str| std::env::var_os(name).and_then(|value| value.to_str()?.parse::<u64>().ok());
    let cases = number("FUZZ_CASES");
    let seed = number("FUZZ_SEED").unwrap_or_else(|| if cases.is_some() { rand::random() } else { 1 });
    let corpus = corpus(folder);
    let mut slowest = (Duration::ZERO, String::new());
    let mut attempt = |name: &str, input: &[u8]| {
        let began = Instant::now();
        if fails(target, input) {
            let small = shrink(target, input.to_vec());
            let kept = cases.map(|_| keep(folder, &small));
            // Once more, for its own words.
            let _ = catch_unwind(AssertUnwindSafe(|| target(&small)));
            panic!("{name} (FUZZ_SEED={seed}): {} bytes, {kept:?}: {}", small.len(), show(&small));
        }
        if began.elapsed() > slowest.0 {
            slowest = (began.elapsed(), format!("{name}: {}", show(&input[..input.len().min(200)])));
        }
    };
    for (name, input) in &corpus {
        attempt(name, input);
    }
    let mut random = StdRng::seed_from_u64(seed);
    for case in 0..cases.unwrap_or(FEW).div_ceil(share) {
        let (name, input) = &corpus[random.random_range(0..corpus.len())];
        let mut input = input.clone();
        for _ in 0..random.random_range(1..6) {
            let (_, other) = &corpus[random.random_range(0..corpus.len())];
            mutate(&mut input, other, &mut random);
        }
        input.truncate(LONGEST);
        attempt(&format!("case {case} of {name}"), &input);
    }
    if cases.is_some() {
        println!("FUZZ_SEED={seed}, slowest {:?}: {}", slowest.0, slowest.1);
    }
}

/// The files of a folder, by name.
fn corpus(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{} is empty", folder.display());
    found
}

fn fails(target: &impl Fn(&[u8]), input: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| target(input))).is_err()
}

/// Leaves out whatever can be left out while it still fails.
fn shrink(target: &impl Fn(&[u8]), mut input: Vec<u8>) -> Vec<u8> {
    let (mut size, mut tries) = (input.len().div_ceil(2), 0);
    while size > 0 {
        let mut at = 0;
        while at < input.len() && tries < SHRINKS {
            tries += 1;
            let less = [&input[..at], &input[(at + size).min(input.len())..]].concat();
            if fails(target, &less) {
                input = less;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    input
}

fn keep(folder: &Path, input: &[u8]) -> PathBuf {
    let path = folder.join(format!(
        "found-{:08x}",
        input.iter().fold(0_u32, |sum, byte| { sum.wrapping_mul(31).wrapping_add(u32::from(*byte)) })
    ));
    let _ = std::fs::write(&path, input);
    path
}

fn show(input: &[u8]) -> String {
    let mut shown = String::new();
    for byte in input.iter().take(1_000) {
        let _ = write!(shown, "{}", byte.escape_ascii());
    }
    shown
}

/// One accident.
fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut StdRng) {
    let part = |bytes: &[u8], random: &mut StdRng| {
        let start = random.random_range(0..=bytes.len());
        let end = (start + random.random_range(0..=32)).min(bytes.len());
        start..end
    };
    match random.random_range(0..12) {
        0..2 if !input.is_empty() => {
            let at = random.random_range(0..input.len());
            input[at] ^= 1 << random.random_range(0..8);
        }
        2 if !input.is_empty() => {
            let at = random.random_range(0..input.len());
            input[at] = random.random();
        }
        3..5 => {
            let at = part(input, random);
            let token = TOKENS[random.random_range(0..TOKENS.len())].as_bytes();
            let at = if random.random_bool(0.5) { at.start..at.start } else { at };
            input.splice(at, token.iter().copied());
        }
        5 => drop(input.drain(part(input, random)).count()),
        6 => {
            let copied = input[part(input, random)].to_vec();
            let at = random.random_range(0..=input.len());
            input.splice(at..at, copied);
        }
        7 => input.truncate(random.random_range(0..=input.len())),
        // Lines: twice, away, moved.
        8 | 9 => {
            let mut lines: Vec<Vec<u8>> = input.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            if !lines.is_empty() {
                let line = lines[random.random_range(0..lines.len())].clone();
                let at = random.random_range(0..lines.len());
                match random.random_range(0..3) {
                    0 => lines.insert(at, line),
                    1 => drop(lines.remove(at)),
                    _ => lines[at] = line,
                }
                *input = lines.concat();
            }
        }
        // Two inputs become one.
        10 => {
            let (at, from) = (random.random_range(0..=input.len()), random.random_range(0..=other.len()));
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        // Something very often.
        11 if random.random_bool(0.2) => {
            let piece = input[part(input, random)].to_vec();
            let at = random.random_range(0..=input.len());
            input.splice(at..at, piece.repeat(random.random_range(1..500)));
        }
        // A number becomes another one.
        _ => {
            let digits: Vec<usize> = (0..input.len()).filter(|at| input[*at].is_ascii_digit()).collect();
            if let Some(at) = digits.get(random.random_range(0..=digits.len())).copied() {
                let end = (at..input.len()).find(|end| !input[*end].is_ascii_digit()).unwrap_or(input.len());
                let token = TOKENS[random.random_range(0..TOKENS.len())].as_bytes();
                input.splice(at..end, token.iter().copied());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_found_and_made_small() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("lines"), "a=1\nb=2\nc=3\n").unwrap();
        let found = catch_unwind(AssertUnwindSafe(|| {
            fuzz(folder.path(), |input| assert!(!input.windows(4).any(|part| part == b"null"), "it holds null"));
        }));
        let said = *found.unwrap_err().downcast::<String>().unwrap();
        assert!(said.contains("4 bytes") && said.ends_with(": null"), "{said}");
    }
}
