//! A migration that is added is embedded: the macro alone notices only files that it has seen before.

fn main() {
    println!("cargo::rerun-if-changed=../migrations");
}
