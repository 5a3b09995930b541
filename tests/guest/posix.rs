//! What POSIX promises a program on a file system, tried through the kernel's client.
//!
//! Each try has a folder of its own. Bytes are compared after this kernel has forgotten them, so
//! that they come from the server.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::{
        fs::{
            DirBuilderExt as _, FileExt as _, FileTypeExt as _, MetadataExt as _,
            OpenOptionsExt as _, PermissionsExt, symlink,
        },
        net::UnixListener,
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, UNIX_EPOCH},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, statvfs},
    io::Errno,
};

use super::{Wrong, forget_cached};

type Tried = Result<(), Wrong>;
type Try = (&'static str, fn(&Path) -> Tried);

const TRIES: &[Try] = &[
    ("rename moves a name, also over another", rename_files),
    ("rename moves a directory", rename_directories),
    ("rename leaves open files open", rename_open),
    ("rename to another link of the same file does nothing", rename_same),
    ("link counts names", link),
    ("unlinked while open", unlink_open),
    ("programs are written, run and written again", programs),
    ("truncate never brings bytes back", truncate),
    ("sparse files", sparse),
    ("append", append),
    ("O_EXCL", exclusive),
    ("symlinks", symlinks),
    ("special files", special),
    ("directories", directories),
    ("names", names),
    ("times", times),
    ("permissions", permissions),
    ("sticky and setgid directories", sticky_setgid),
    ("O_DIRECT", direct),
    ("random overwrites of a large file", overwrites),
    ("statvfs", statistics),
];

pub(crate) fn run(dir: &str) -> Tried {
    rustix::process::umask(Mode::empty());
    let mut failed = 0;
    for (n, (name, attempt)) in TRIES.iter().enumerate() {
        let dir = Path::new(dir).join(n.to_string());
        fs::create_dir(&dir)?;
        match attempt(&dir) {
            Ok(()) => println!("ok      {name}"),
            Err(e) => {
                failed += 1;
                println!("WRONG   {name}: {e}");
            }
        }
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} of {} are wrong", TRIES.len()).into()) }
}

/// Nothing moves from one file system to another by name.
pub(crate) fn refused(from: &str, to: &str) -> Tried {
    expect_errno(fs::rename(from, to), &[Errno::XDEV], "rename to another share")?;
    expect_errno(fs::hard_link(from, to), &[Errno::XDEV], "link to another share")?;
    expect_errno(fs::metadata(to), &[Errno::NOENT], "the new name")
}

/// One call whose result another user's process shows by its exit status.
pub(crate) fn call(what: &str, path: &str) -> ExitCode {
    let done = match what {
        "read" => File::open(path).map(drop),
        "write" => OpenOptions::new().write(true).open(path).map(drop),
        "create" => File::create_new(path).map(drop),
        "remove" => fs::remove_file(path),
        "chmod" => fs::set_permissions(path, PermissionsExt::from_mode(0o777)),
        "list" => fs::read_dir(path).map(drop),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    };
    let errno = done.err().and_then(|e| e.raw_os_error()).unwrap_or(0);
    ExitCode::from(u8::try_from(errno).unwrap_or(255))
}

fn rename_files(dir: &Path) -> Tried {
    let (a, b) = (dir.join("a"), dir.join("b"));
    fs::write(&a, "one")?;
    let inode = fs::metadata(&a)?.ino();
    fs::rename(&a, &b)?;
    expect_errno(fs::metadata(&a), &[Errno::NOENT], "the old name")?;
    expect(fs::metadata(&b)?.ino() == inode, "the inode stays the same")?;
    fs::write(&a, "two")?;
    fs::rename(&a, &b)?;
    forget_cached()?;
    expect(fs::read(&b)? == b"two", "the new content under the old name")?;
    expect(names_in(dir)? == ["b"], "one name is left")?;
    expect_errno(fs::rename(&a, &b), &[Errno::NOENT], "a name that is not there")
}

fn rename_directories(dir: &Path) -> Tried {
    let (a, b, c) = (dir.join("a"), dir.join("b"), dir.join("c"));
    fs::create_dir_all(a.join("in/ner"))?;
    fs::write(a.join("in/file"), "x")?;
    fs::create_dir(&b)?;
    fs::rename(&a, &b)?;
    expect(fs::read(b.join("in/file"))? == b"x", "the content came along")?;
    let below = fs::rename(&b, b.join("in/ner/b"));
    expect_errno(below, &[Errno::INVAL], "a directory into itself")?;
    fs::create_dir_all(c.join("full"))?;
    let full = [Errno::NOTEMPTY, Errno::EXIST];
    expect_errno(fs::rename(&b, &c), &full, "over a directory that is not empty")?;
    fs::write(dir.join("file"), "f")?;
    expect_errno(fs::rename(&b, dir.join("file")), &[Errno::NOTDIR], "a directory over a file")?;
    expect_errno(fs::rename(dir.join("file"), &b), &[Errno::ISDIR], "a file over a directory")?;
    fs::rename(b.join("in"), c.join("in"))?;
    let parent = fs::metadata(c.join("in/.."))?.ino();
    expect(parent == fs::metadata(&c)?.ino(), "`..` leads to the new parent")?;
    expect(fs::metadata(&b)?.nlink() == 2, "links of a directory without directories")?;
    expect(fs::metadata(&c)?.nlink() == 4, "links of a directory with two directories")
}

fn rename_open(dir: &Path) -> Tried {
    let mut file = File::create(dir.join("a"))?;
    file.write_all(b"before ")?;
    fs::rename(dir.join("a"), dir.join("b"))?;
    file.write_all(b"after")?;
    file.sync_all()?;
    forget_cached()?;
    expect(fs::read(dir.join("b"))? == b"before after", "written through the open file")
}

fn rename_same(dir: &Path) -> Tried {
    let (a, b) = (dir.join("a"), dir.join("b"));
    fs::write(&a, "x")?;
    fs::hard_link(&a, &b)?;
    fs::rename(&a, &b)?;
    forget_cached()?;
    expect(names_in(dir)? == ["a", "b"], "both names stay")?;
    expect(fs::metadata(&a)?.nlink() == 2, "both are counted")
}

fn link(dir: &Path) -> Tried {
    let (a, b) = (dir.join("a"), dir.join("sub/b"));
    fs::create_dir(dir.join("sub"))?;
    fs::write(&a, "x")?;
    fs::hard_link(&a, &b)?;
    expect(fs::metadata(&a)?.ino() == fs::metadata(&b)?.ino(), "one inode")?;
    expect(fs::metadata(&a)?.nlink() == 2, "two names")?;
    fs::write(&b, "changed")?;
    forget_cached()?;
    expect(fs::read(&a)? == b"changed", "one content")?;
    expect_errno(fs::hard_link(&a, &b), &[Errno::EXIST], "a name that is taken")?;
    let directory = fs::hard_link(dir.join("sub"), dir.join("c"));
    expect_errno(directory, &[Errno::PERM], "a link to a directory")?;
    fs::remove_file(&a)?;
    forget_cached()?;
    expect(fs::read(&b)? == b"changed", "the other name keeps it")?;
    expect(fs::metadata(&b)?.nlink() == 1, "one name is left")
}

fn unlink_open(dir: &Path) -> Tried {
    let path = dir.join("a");
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    file.write_all(b"before")?;
    fs::remove_file(&path)?;
    expect_errno(File::open(&path), &[Errno::NOENT], "the name")?;
    file.write_all(b" and after")?;
    file.sync_all()?;
    forget_cached()?;
    file.seek(SeekFrom::Start(0))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    expect(text == "before and after", "the open file")?;
    fs::write(&path, "new")?;
    expect(fs::metadata(&path)?.ino() != file.metadata()?.ino(), "the name leads to another file")?;
    drop(file);
    fs::remove_file(&path)?;
    expect(names_in(dir)?.is_empty(), "nothing is left after the close")
}

/// No `ETXTBSY` where nobody runs the file any more, nor where nobody writes it any more.
fn programs(dir: &Path) -> Tried {
    let (path, other) = (dir.join("a"), dir.join("b"));
    let run = |path: &Path| -> Tried {
        let done = Command::new(path).arg("no such command").output()?;
        let said = String::from_utf8_lossy(&done.stderr);
        expect(said.contains("guest copy LIST DIR"), &format!("it ran: {said}"))
    };
    for _ in 0..3 {
        fs::copy("/proc/self/exe", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        run(&path)?;
        forget_cached()?;
        run(&path)?;
    }
    fs::copy(&path, &other)?;
    fs::rename(&other, &path)?;
    run(&path)?;
    fs::remove_file(&path)?;
    expect(names_in(dir)?.is_empty(), "nothing is left")
}

fn truncate(dir: &Path) -> Tried {
    let path = dir.join("a");
    let full = pattern(1, 10 << 20);
    fs::write(&path, &full)?;
    let file = OpenOptions::new().write(true).open(&path)?;
    for (short, long) in [(9_000_001, 10 << 20), (5 << 20, 6 << 20), (4 << 20, 9 << 20), (3, 4099)]
    {
        file.set_len(short)?;
        file.set_len(long)?;
        forget_cached()?;
        let found = fs::read(&path)?;
        let cut = usize::try_from(short)?;
        expect(found.len() as u64 == long, "the length")?;
        expect(found[..cut] == full[..cut], "the bytes below the cut")?;
        expect(found[cut..].iter().all(|byte| *byte == 0), "zeroes above the cut")?;
    }
    file.set_len(0)?;
    file.write_all_at(b"end", 8 << 20)?;
    drop(file);
    forget_cached()?;
    let found = fs::read(&path)?;
    expect(found.len() == (8 << 20) + 3, "the length after a write beyond the end")?;
    expect(found.ends_with(b"end"), "the bytes beyond the end")?;
    expect(found[..8 << 20].iter().all(|byte| *byte == 0), "zeroes in between")?;
    File::create(&path)?;
    expect(fs::metadata(&path)?.len() == 0, "O_TRUNC")
}

fn sparse(dir: &Path) -> Tried {
    let path = dir.join("a");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    let places = [0, 4095, (4 << 20) - 1, 25 << 20, (5 << 30) + 7];
    for place in places {
        file.write_all_at(&[1, 2], place)?;
    }
    file.sync_all()?;
    forget_cached()?;
    let metadata = file.metadata()?;
    expect(metadata.len() == (5 << 30) + 9, "the length")?;
    let used = metadata.blocks() * 512;
    expect(used <= 64 << 20, &format!("{used} bytes used for ten"))?;
    for place in places {
        let mut around = [9; 6];
        let start = place.saturating_sub(2);
        file.read_exact_at(&mut around[..usize::try_from(place - start)? + 2], start)?;
        let at = usize::try_from(place - start)?;
        expect(around[at..at + 2] == [1, 2], "the bytes")?;
        expect(around[..at].iter().all(|byte| *byte == 0), "the hole before them")?;
    }
    let mut hole = vec![9; 1 << 20];
    file.read_exact_at(&mut hole, 1 << 30)?;
    expect(hole.iter().all(|byte| *byte == 0), "a hole")
}

fn append(dir: &Path) -> Tried {
    let path = dir.join("a");
    let open = || OpenOptions::new().append(true).create(true).open(&path);
    let (mut one, mut two) = (open()?, open()?);
    let mut wanted = Vec::new();
    for n in 0..100_u8 {
        let bytes = vec![n; 1000];
        let file = if n % 2 == 0 { &mut one } else { &mut two };
        file.write_all(&bytes)?;
        wanted.extend(bytes);
    }
    drop((one, two));
    forget_cached()?;
    expect(fs::read(&path)? == wanted, "each after the other")
}

fn exclusive(dir: &Path) -> Tried {
    let path = dir.join("a");
    let create = || OpenOptions::new().write(true).create_new(true).mode(0o640).open(&path);
    let mut file = create()?;
    file.write_all(b"first")?;
    drop(file);
    let mode = fs::metadata(&path)?.mode() & 0o7777;
    expect(mode == 0o640, &format!("mode {mode:o} of a file made exclusively"))?;
    expect_errno(create(), &[Errno::EXIST], "the second")?;
    symlink("nowhere", dir.join("b"))?;
    let link = OpenOptions::new().write(true).create_new(true).open(dir.join("b"));
    expect_errno(link, &[Errno::EXIST], "where a link stands")?;
    expect(fs::read(&path)? == b"first", "the first one's bytes")
}

fn symlinks(dir: &Path) -> Tried {
    let long = "x/".repeat(500);
    for (name, target) in [("rel", "file"), ("none", "nowhere"), ("long", &long), ("me", "me")] {
        symlink(target, dir.join(name))?;
    }
    fs::write(dir.join("file"), "x")?;
    forget_cached()?;
    expect(fs::read(dir.join("rel"))? == b"x", "a link is followed")?;
    expect(fs::read_link(dir.join("long"))? == Path::new(&long), "a long target")?;
    expect(fs::symlink_metadata(dir.join("long"))?.len() == 1000, "its length")?;
    expect(fs::symlink_metadata(dir.join("none"))?.is_symlink(), "its kind")?;
    expect_errno(fs::read(dir.join("none")), &[Errno::NOENT], "a link to nothing")?;
    expect_errno(fs::read(dir.join("me")), &[Errno::LOOP], "a link to itself")?;
    fs::rename(dir.join("rel"), dir.join("moved"))?;
    fs::remove_file(dir.join("moved"))?;
    expect(fs::read(dir.join("file"))? == b"x", "the target stays")
}

fn special(dir: &Path) -> Tried {
    let mode = Mode::from_raw_mode(0o644);
    mknodat(CWD, dir.join("fifo"), FileType::Fifo, mode, 0)?;
    mknodat(CWD, dir.join("char"), FileType::CharacterDevice, mode, makedev(1, 3))?;
    mknodat(CWD, dir.join("block"), FileType::BlockDevice, mode, makedev(7, 300))?;
    drop(UnixListener::bind(dir.join("socket"))?);
    forget_cached()?;
    let metadata = |name: &str| fs::symlink_metadata(dir.join(name));
    expect(metadata("fifo")?.file_type().is_fifo(), "a pipe")?;
    expect(metadata("socket")?.file_type().is_socket(), "a socket")?;
    expect(metadata("char")?.file_type().is_char_device(), "a character device")?;
    expect(metadata("char")?.rdev() == makedev(1, 3), "its number")?;
    expect(metadata("block")?.file_type().is_block_device(), "a block device")?;
    expect(metadata("block")?.rdev() == makedev(7, 300), "its number")?;
    expect(metadata("fifo")?.mode() & 0o7777 == 0o644, "the mode")?;
    let exists = mknodat(CWD, dir.join("fifo"), FileType::Fifo, mode, 0);
    expect_errno(exists.map_err(io::Error::from), &[Errno::EXIST], "a name that is taken")
}

fn directories(dir: &Path) -> Tried {
    let mut deep = dir.to_owned();
    for n in 0..40 {
        deep.push(format!("d{n}"));
        fs::create_dir(&deep)?;
    }
    fs::write(deep.join("file"), "x")?;
    let full = [Errno::NOTEMPTY, Errno::EXIST];
    expect_errno(fs::remove_dir(&deep), &full, "a directory that is not empty")?;
    expect_errno(fs::create_dir(&deep), &[Errno::EXIST], "a name that is taken")?;
    expect_errno(fs::remove_dir(deep.join("file")), &[Errno::NOTDIR], "rmdir of a file")?;
    let directory = [Errno::ISDIR, Errno::PERM];
    expect_errno(fs::remove_file(&deep), &directory, "unlink of a directory")?;
    expect_errno(fs::read_dir(dir.join("none")), &[Errno::NOENT], "what is not there")?;
    fs::remove_dir_all(dir.join("d0"))?;
    expect(names_in(dir)?.is_empty(), "nothing is left")
}

fn names(dir: &Path) -> Tried {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let longest = [b'n'; 255];
    let strange: [&[u8]; 6] =
        [&longest, b"\xff\xfe not UTF-8", "gr\u{fc}\u{df}e".as_bytes(), b" ", b"a\nb", b"..."];
    for name in strange {
        fs::write(dir.join(OsStr::from_bytes(name)), name)?;
    }
    forget_cached()?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        expect(
            fs::read(entry.path())? == entry.file_name().as_bytes(),
            "what it says is its name",
        )?;
    }
    expect(fs::read_dir(dir)?.count() == strange.len(), "all are listed")?;
    let long = fs::write(dir.join("n".repeat(256)), "");
    expect_errno(long, &[Errno::NAMETOOLONG], "a name of 256 bytes")
}

fn times(dir: &Path) -> Tried {
    let path = dir.join("a");
    let file = File::create(&path)?;
    let at = |seconds, nanos| UNIX_EPOCH + Duration::new(seconds, nanos);
    let (read, written) = (at(1_000_000_000, 123_456_789), at(1_500_000_000, 987_654_321));
    file.set_times(fs::FileTimes::new().set_accessed(read).set_modified(written))?;
    forget_cached()?;
    let before = fs::metadata(&path)?;
    expect(before.accessed()? == read, "the time of the last read as set")?;
    expect(before.modified()? == written, "the time of the last write as set")?;
    std::thread::sleep(Duration::from_millis(20));
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600))?;
    forget_cached()?;
    let after = fs::metadata(&path)?;
    let changed = |of: &fs::Metadata| (of.ctime(), of.ctime_nsec());
    expect(changed(&after) > changed(&before), "chmod changes the time of change")?;
    expect(after.modified()? == written, "and not that of writing")?;
    let dir_before = changed(&fs::metadata(dir)?);
    std::thread::sleep(Duration::from_millis(20));
    fs::write(dir.join("b"), "x")?;
    (&file).write_all(b"x")?;
    drop(file);
    forget_cached()?;
    expect(fs::metadata(&path)?.modified()? > written, "a write changes the time of writing")?;
    expect(changed(&fs::metadata(dir)?) > dir_before, "a new name changes its directory's time")
}

fn permissions(dir: &Path) -> Tried {
    let (file, private) = (dir.join("file"), dir.join("private"));
    fs::write(&file, "secret")?;
    fs::set_permissions(&file, PermissionsExt::from_mode(0o640))?;
    std::os::unix::fs::chown(&file, Some(1001), Some(2001))?;
    fs::DirBuilder::new().mode(0o700).create(&private)?;
    let (owner, member, other) = ((1001, 1001), (1002, 2001), (1002, 1002));
    expect(errno_as(owner, "read", &file)? == 0, "the owner reads")?;
    expect(errno_as(owner, "write", &file)? == 0, "the owner writes")?;
    expect(errno_as(member, "read", &file)? == 0, "the group reads")?;
    let denied = Errno::ACCESS.raw_os_error();
    expect(errno_as(member, "write", &file)? == denied, "the group does not write")?;
    expect(errno_as(other, "read", &file)? == denied, "others do not read")?;
    expect(errno_as(other, "list", &private)? == denied, "others do not list")?;
    expect(errno_as(other, "create", &private.join("x"))? == denied, "nor create")?;
    expect(errno_as(other, "remove", &file)? == 0, "who may write the directory may remove")?;
    fs::write(&file, "x")?;
    let chmod = errno_as(other, "chmod", &file)?;
    expect(chmod == Errno::PERM.raw_os_error(), "only the owner changes the mode")?;
    let new = dir.join("new");
    expect(errno_as(other, "create", &new)? == 0, "others create in an open directory")?;
    let metadata = fs::metadata(&new)?;
    expect((metadata.uid(), metadata.gid()) == other, "and own what they create")
}

fn sticky_setgid(dir: &Path) -> Tried {
    let (sticky, team) = (dir.join("sticky"), dir.join("team"));
    fs::DirBuilder::new().mode(0o1777).create(&sticky)?;
    let (one, two) = ((1001, 1001), (1002, 1002));
    let theirs = sticky.join("theirs");
    expect(errno_as(one, "create", &theirs)? == 0, "anyone creates in a sticky directory")?;
    let refused = [Errno::PERM.raw_os_error(), Errno::ACCESS.raw_os_error()];
    expect(refused.contains(&errno_as(two, "remove", &theirs)?), "only the owner removes")?;
    expect(errno_as(one, "remove", &theirs)? == 0, "the owner does")?;
    fs::create_dir(&team)?;
    std::os::unix::fs::chown(&team, None, Some(3001))?;
    fs::set_permissions(&team, PermissionsExt::from_mode(0o2777))?;
    expect(errno_as(one, "create", &team.join("file"))? == 0, "a file in a team's directory")?;
    expect(fs::metadata(team.join("file"))?.gid() == 3001, "it takes the directory's group")?;
    fs::create_dir(team.join("sub"))?;
    let sub = fs::metadata(team.join("sub"))?;
    expect(sub.gid() == 3001 && sub.mode() & 0o2000 != 0, "so does a directory, and passes it on")
}

fn direct(dir: &Path) -> Tried {
    let path = dir.join("a");
    let open = |flags: OFlags| {
        let flags = flags | OFlags::DIRECT | OFlags::CREATE;
        rustix::fs::open(&path, flags, Mode::from_raw_mode(0o644)).map(File::from)
    };
    let bytes = pattern(2, 3 << 20);
    open(OFlags::WRONLY)?.write_all_at(&bytes, 4096)?;
    let mut found = vec![0; bytes.len()];
    open(OFlags::RDONLY)?.read_exact_at(&mut found, 4096)?;
    expect(found == bytes, "what was written past the cache is read past the cache")
}

fn overwrites(dir: &Path) -> Tried {
    let path = dir.join("a");
    let mut wanted = pattern(3, 24 << 20);
    fs::write(&path, &wanted)?;
    let file = OpenOptions::new().write(true).open(&path)?;
    let mut seed = 4_u64;
    for round in 0..3 {
        for _ in 0..150 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let start = usize::try_from(seed >> 33)? % wanted.len();
            let len = (usize::try_from(seed >> 20)? % 150_000).min(wanted.len() - start);
            let bytes = pattern(seed, len);
            file.write_all_at(&bytes, start as u64)?;
            wanted[start..start + len].copy_from_slice(&bytes);
        }
        file.sync_all()?;
        forget_cached()?;
        expect(fs::read(&path)? == wanted, &format!("the bytes after round {round}"))?;
    }
    Ok(())
}

fn statistics(dir: &Path) -> Tried {
    let before = statvfs(dir)?;
    expect(before.f_bsize >= 512, "a block size")?;
    expect(before.f_blocks >= before.f_bavail, "no more is free than there is")?;
    expect(before.f_namemax == 255, "names up to 255 bytes")?;
    expect(before.f_files > 0, "a number of inodes")
}

/// What `guest try` exits with as this user and group.
fn errno_as((uid, gid): (u32, u32), what: &str, path: &Path) -> Result<i32, Wrong> {
    let me: PathBuf = std::env::current_exe()?;
    let status = Command::new(me).arg("try").arg(what).arg(path).uid(uid).gid(gid).status()?;
    status.code().ok_or_else(|| "it died".into())
}

fn names_in(dir: &Path) -> Result<Vec<String>, Wrong> {
    let names = fs::read_dir(dir)?.map(|e| Ok(e?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<String>>>()?;
    names.sort_unstable();
    Ok(names)
}

fn expect(holds: bool, what: &str) -> Tried {
    if holds { Ok(()) } else { Err(format!("not so: {what}").into()) }
}

fn expect_errno<T>(done: io::Result<T>, wanted: &[Errno], what: &str) -> Tried {
    let errno = done.err().and_then(|e| e.raw_os_error());
    let is_wanted = wanted.iter().any(|wanted| Some(wanted.raw_os_error()) == errno);
    if is_wanted { Ok(()) } else { Err(format!("{what}: errno {errno:?}, not {wanted:?}").into()) }
}

/// Bytes that are different at every place and for every seed.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let words = (0..len.div_ceil(8) as u64).map(|n| {
        let mixed = (n ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    });
    let mut bytes: Vec<u8> = words.flatten().collect();
    bytes.truncate(len);
    bytes
}
