//! A real file system on a loop device, which can be made to fail.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// An ext4 in a file, mounted over a folder. It goes with the test.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    /// The folder.
    pub mounted: PathBuf,
}

impl Disk {
    /// A new one of that size, at `dir/name`.
    ///
    /// # Panics
    /// When that cannot be done, as all here.
    #[must_use]
    pub fn new(dir: &Path, name: &str, mebibytes: u64) -> Self {
        let image = dir.join(format!("{name}.image"));
        let file = File::create(&image).expect("image");
        file.set_len(mebibytes << 20).expect("image");
        Self::make(image, dir.join(name))
    }

    /// A new one in that file, mounted there.
    ///
    /// # Panics
    /// When that cannot be done, as all here.
    #[must_use]
    pub fn make(image: PathBuf, mounted: PathBuf) -> Self {
        run("mkfs.ext4", &["-q", "-m", "0"], &[&image]);
        Self::found(image, mounted)
    }

    /// One that is in that file already, mounted there.
    ///
    /// # Panics
    /// When that cannot be done, as all here.
    #[must_use]
    pub fn found(image: PathBuf, mounted: PathBuf) -> Self {
        fs::create_dir_all(&mounted).expect("folder");
        let disk = Self { image, mounted };
        disk.mount();
        disk
    }

    /// Mounts it again.
    pub fn mount(&self) {
        run("mount", &["-o", "loop"], &[&self.image, &self.mounted]);
    }

    /// As the kernel does it with an ext4 that it finds damaged.
    pub fn turn_read_only(&self) {
        run("mount", &["-o", "remount,abort"], &[&self.mounted]);
    }

    /// Every operation fails from now on, as on a disk that was pulled out; what was synced is
    /// there once it is mounted again.
    pub fn fail(&self) {
        // EXT4_IOC_SHUTDOWN without a flush of its journal.
        const SHUTDOWN: &str = "import fcntl, os, struct, sys\n\
            fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
        run("python3", &["-c", SHUTDOWN], &[&self.mounted]);
    }

    /// Unmounts it, once a server that was killed has let go of it.
    ///
    /// # Panics
    /// When somebody holds it for half a minute.
    pub fn unmount(&self) {
        for _ in 0..600 {
            let output = Command::new("umount").arg(&self.mounted).output().expect("it runs");
            if output.status.success() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        run("umount", &[], &[&self.mounted]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It may be unmounted, or a killed server may just be letting go of it.
        drop(Command::new("umount").arg("-l").arg(&self.mounted).output());
    }
}

fn run(program: &str, args: &[&str], paths: &[&Path]) {
    let output = Command::new(program).args(args).args(paths).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {args:?} {paths:?}: {said}");
}
