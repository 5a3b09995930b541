//! ONC RPC over TCP (RFC 5531): record marks, call heads with AUTH_SYS of root, reply heads.

use crate::xdr::{Reader, Short, Write};

pub(crate) const MOUNT: (u32, u32) = (100_005, 3);
pub(crate) const NFS: (u32, u32) = (100_003, 3);
const LAST_FRAGMENT: u32 = 1 << 31;

/// Appends one whole call: its head, then what `body` appends.
pub(crate) fn call(
    out: &mut Vec<u8>,
    xid: u32,
    (program, version): (u32, u32),
    procedure: u32,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    // Record mark, xid, CALL, RPC version 2.
    for word in [0, xid, 0, 2, program, version, procedure] {
        out.u32(word);
    }
    // AUTH_SYS: stamp, machine, uid 0, gid 0, no groups. Then AUTH_NONE.
    for word in [1, 28, 0] {
        out.u32(word);
    }
    out.opaque(b"nfsload");
    for word in [0, 0, 0, 0, 0] {
        out.u32(word);
    }
    body(out);
    let len = u32::try_from(out.len() - start - 4).expect("calls are small");
    out[start..start + 4].copy_from_slice(&(LAST_FRAGMENT | len).to_be_bytes());
}

/// Names the procedure of a call that was appended before it was known.
pub(crate) fn set_procedure(call: &mut [u8], procedure: u32) {
    call[24..28].copy_from_slice(&procedure.to_be_bytes());
}

/// Takes the head of an accepted reply; its xid, and whether the call was carried out.
pub(crate) fn reply_head(reply: &mut Reader<'_>) -> Result<(u32, bool), Short> {
    let xid = reply.u32()?;
    let is_accepted = reply.u32()? == 1 && reply.u32()? == 0;
    if !is_accepted {
        return Ok((xid, false));
    }
    reply.u32()?;
    reply.opaque()?;
    Ok((xid, reply.u32()? == 0))
}

/// The first whole record in `bytes` and how many bytes it takes there; `None` if more is needed.
/// Fragments are rare, so only they are copied, into `joined`.
pub(crate) fn record<'a>(bytes: &'a [u8], joined: &'a mut Vec<u8>) -> Option<(&'a [u8], usize)> {
    let fragment = |at: usize| {
        let mark = bytes.get(at..at + 4)?;
        let mark = u32::from_be_bytes(mark.try_into().ok()?);
        let len = (mark & !LAST_FRAGMENT) as usize;
        Some((bytes.get(at + 4..at + 4 + len)?, mark & LAST_FRAGMENT != 0))
    };
    let (first, is_last) = fragment(0)?;
    if is_last {
        return Some((first, 4 + first.len()));
    }
    joined.clear();
    let mut at = 0;
    loop {
        let (part, is_last) = fragment(at)?;
        joined.extend_from_slice(part);
        at += 4 + part.len();
        if is_last {
            return Some((joined, at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One fragment.
    fn fragment(is_last: bool, bytes: &[u8]) -> Vec<u8> {
        let len = u32::try_from(bytes.len()).unwrap();
        let mark = if is_last { LAST_FRAGMENT | len } else { len };
        [&mark.to_be_bytes(), bytes].concat()
    }

    #[test]
    fn records_whole_split_and_incomplete() {
        let mut joined = Vec::new();
        let whole = [fragment(true, b"abcd"), b"next".to_vec()].concat();
        assert_eq!(record(&whole, &mut joined), Some((&b"abcd"[..], 8)));
        let split = [fragment(false, b"ab"), fragment(false, b""), fragment(true, b"cd")].concat();
        assert_eq!(record(&split, &mut joined), Some((&b"abcd"[..], split.len())));
        for len in 0..split.len() {
            assert_eq!(record(&split[..len], &mut joined), None, "{len}");
        }
    }

    #[test]
    fn a_call_is_one_record_with_its_procedure() {
        let mut out = Vec::new();
        call(&mut out, 7, NFS, 0, |out| out.u32(9));
        set_procedure(&mut out, 6);
        let mut joined = Vec::new();
        let (body, len) = record(&out, &mut joined).unwrap();
        assert_eq!(len, out.len());
        let mut reader = Reader::new(body);
        let words: Vec<u32> = (0..6).map(|_| reader.u32().unwrap()).collect();
        assert_eq!(words, [7, 0, 2, 100_003, 3, 6]);
        assert_eq!(body[body.len() - 4..], 9u32.to_be_bytes());
    }

    #[test]
    fn only_accepted_and_carried_out_counts() {
        let reply = |words: &[u32]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<_>>();
        let head = |words: &[u32]| reply_head(&mut Reader::new(&reply(words))).ok();
        assert_eq!(head(&[5, 1, 0, 0, 0, 0]), Some((5, true)));
        assert_eq!(head(&[5, 1, 0, 0, 0, 3]), Some((5, false)), "PROC_UNAVAIL");
        assert_eq!(head(&[5, 1, 1, 0, 2, 2]), Some((5, false)), "denied");
        assert_eq!(head(&[5, 1, 0, 0]), None);
    }
}
