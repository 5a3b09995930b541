//! The parts that the tests are made of.

pub mod client;
pub mod device;
pub mod disk;
pub mod drive;
pub mod invent;
pub mod model;
pub mod net;
pub mod proxy;
pub mod rng;
pub mod s3;
pub mod server;
pub mod tree;
pub mod vm;

/// The root of this repository.
fn repo() -> std::path::PathBuf {
    let here = env!("CARGO_MANIFEST_DIR");
    std::path::Path::new(here).parent().expect("tests/ is one deep").to_owned()
}
