//! Has the gateway compiled anew when the pages it carries were built: a folder that appears is nobody's input otherwise.

fn main() {
    // A path that is not there would have everything compiled at every turn, so its parent is watched instead.
    let built = std::path::Path::new("web/dist").exists();
    println!("cargo::rerun-if-changed={}", if built { "web/dist" } else { "web" });
}
