//! Maps made by `crushtool`, and what it says about them.

#[path = "../../../denc/testdata/dencoder.rs"]
#[expect(dead_code, reason = "others need more of it")]
mod dencoder;
mod hostile;
mod mappings;
mod printed;

use std::path::PathBuf;

/// The maps in `testdata`: their names and bytes.
fn maps() -> Vec<(String, Vec<u8>)> {
    let testdata = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut maps: Vec<_> = std::fs::read_dir(testdata)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "crush")
        })
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, read(&path))
        })
        .collect();
    maps.sort();
    maps
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests read their vectors from files"
)]
fn read(path: &std::path::Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
