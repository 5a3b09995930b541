//! Hostile bytes against the decoders: whatever comes, they answer. The seed is printed on failure;
//! `SEED=n` repeats it.

use reactor::rng::Rng;

use super::{Xdr, auth_sys, call_as};
use crate::wire::{
    mount, rpc,
    v3::{data, listing, names, object},
    xdr::{Malformed, Reader},
};

/// Rounds of each suite in a normal run.
pub(super) const ROUNDS: usize = 20_000;

/// Prints the seed when the test fails.
pub(super) struct Seed(pub(super) u64);

impl Seed {
    pub(super) fn new() -> Self {
        let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        Self(given.unwrap_or_else(reactor::rng::random_u64))
    }
}

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "a test tells how to repeat itself")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SEED={}", self.0);
        }
    }
}

/// A number below `n`.
pub(super) fn below(rng: &mut Rng, n: usize) -> usize {
    usize::try_from(rng.below(n as u64)).unwrap()
}

/// Valid arguments of every procedure of NFS, by number.
pub(super) fn valid_args(handle: &[u8]) -> Vec<Vec<u8>> {
    let x = Xdr::default;
    let fh = || x().opaque(handle);
    let place = || fh().opaque(b"name");
    let set = |xdr: Xdr| xdr.u32(1).u32(0o644).u32(0).u32(0).u32(1).u64(10).u32(1).u32(2).u64(5);
    let list = [
        x(),                                        // NULL
        fh(),                                       // GETATTR
        set(fh()).u32(1).u32(1).u32(1),             // SETATTR
        place(),                                    // LOOKUP
        fh().u32(0x3f),                             // ACCESS
        fh(),                                       // READLINK
        fh().u64(0).u32(4096),                      // READ
        fh().u64(0).u32(5).u32(2).opaque(b"bytes"), // WRITE
        set(place().u32(0)),                        // CREATE
        set(place()),                               // MKDIR
        set(place()).opaque(b"path"),               // SYMLINK
        set(place().u32(4)).u32(1).u32(2),          // MKNOD
        place(),                                    // REMOVE
        place(),                                    // RMDIR
        place().opaque(handle).opaque(b"other"),    // RENAME
        fh().opaque(handle).opaque(b"other"),       // LINK
        fh().u64(0).u64(0).u32(4096),               // READDIR
        fh().u64(0).u64(0).u32(4096).u32(8192),     // READDIRPLUS
        fh(),                                       // FSSTAT
        fh(),                                       // FSINFO
        fh(),                                       // PATHCONF
        fh().u64(0).u32(0),                         // COMMIT
    ];
    list.into_iter().map(|xdr| xdr.0).collect()
}

/// Damages bytes: cuts, flips, lies about lengths, repeats, inserts.
pub(super) fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=below(rng, 4) {
        let at = below(rng, bytes.len().max(1));
        match rng.below(6) {
            0 => bytes.truncate(at),
            1 if !bytes.is_empty() => bytes[at] ^= 1 << rng.below(8),
            2 => {
                // A word that is likely a length, made to lie.
                let at = at / 4 * 4;
                let lies = [u32::MAX, u32::MAX - 3, 0x7fff_ffff, 0x8000_0000, 65, 401, 17, 0, 3];
                let lie = lies[below(rng, lies.len())];
                if let Some(word) = bytes.get_mut(at..at + 4) {
                    word.copy_from_slice(&lie.to_be_bytes());
                }
            }
            3 => {
                let tail = bytes[at..].to_vec();
                bytes.extend(tail.iter().take(64));
            }
            4 => bytes.insert(at.min(bytes.len()), rng.next_u64().to_le_bytes()[0]),
            _ => bytes.extend(rng.next_u64().to_le_bytes()),
        }
    }
}

fn decode(procedure: usize, bytes: &[u8]) -> Result<(), Malformed> {
    let reader = &mut Reader::new(bytes);
    match procedure {
        0 => Ok(()),
        1 | 5 | 18 | 19 | 20 => object::HandleArgs::decode(reader).map(drop),
        2 => object::SetAttrArgs::decode(reader).map(drop),
        3 | 12 | 13 => names::Place::decode(reader).map(drop),
        4 => object::AccessArgs::decode(reader).map(drop),
        6 => data::ReadArgs::decode(reader).map(drop),
        7 => data::WriteArgs::decode(reader).map(drop),
        8 => names::CreateArgs::decode(reader).map(drop),
        9 => names::MkdirArgs::decode(reader).map(drop),
        10 => names::SymlinkArgs::decode(reader).map(drop),
        11 => names::MknodArgs::decode(reader).map(drop),
        14 => names::RenameArgs::decode(reader).map(drop),
        15 => names::LinkArgs::decode(reader).map(drop),
        16 => listing::ReadDirArgs::decode(reader).map(drop),
        17 => listing::ReadDirPlusArgs::decode(reader).map(drop),
        21 => data::CommitArgs::decode(reader).map(drop),
        other => panic!("no procedure {other}"),
    }
}

#[test]
fn arguments_of_every_procedure_damaged() {
    let seed = Seed::new();
    let mut rng = Rng::from_seed(seed.0);
    let valid = valid_args(b"handle");
    for (procedure, args) in valid.iter().enumerate() {
        assert_eq!(decode(procedure, args), Ok(()), "procedure {procedure}");
        // A prefix never passes: no argument is optional at the end.
        for len in 0..args.len() {
            assert_eq!(decode(procedure, &args[..len]), Err(Malformed), "{procedure}, {len}");
        }
    }
    for _ in 0..ROUNDS {
        let procedure = below(&mut rng, valid.len());
        let mut args = valid[procedure].clone();
        mutate(&mut rng, &mut args);
        decode(procedure, &args).ok();
        mount::PathArgs::decode(&mut Reader::new(&args)).ok();
    }
}

#[test]
fn calls_damaged() {
    let seed = Seed::new();
    let mut rng = Rng::from_seed(seed.0);
    for _ in 0..ROUNDS {
        let mut credential = auth_sys(1, 2, &[3, 4, 5]);
        mutate(&mut rng, &mut credential);
        rpc::auth_sys(&credential).ok();
        let mut record = call_as(1, 100_003, 3, 1, 1, &credential, b"args");
        mutate(&mut rng, &mut record);
        if let Ok(call) = rpc::Call::decode(&record) {
            assert!(record.ends_with(call.args));
        }
    }
}
