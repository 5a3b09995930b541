//! The machine's own databases of hosts and users, as libc asks them. All of it blocks.
#![expect(unsafe_code, reason = "calls of libc that fill memory of ours or give lists of theirs")]

use std::{
    ffi::{CStr, CString, c_char, c_int},
    mem::MaybeUninit,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ptr,
};

use crate::names::Missing;

/// Longest host name that libc gives (`NI_MAXHOST`).
const HOST_BYTES_MAX: usize = 1025;
/// Most bytes for a user's record, and most groups of one user (`NGROUPS_MAX`).
const USER_BYTES_MAX: usize = 1 << 20;
const GROUPS_MAX: usize = 65_536;

/// A list of `getaddrinfo`, given back at the end.
struct Found(*mut libc::addrinfo);

impl Drop for Found {
    fn drop(&mut self) {
        // SAFETY: `getaddrinfo` gave it, and nobody has freed it.
        unsafe { libc::freeaddrinfo(self.0) };
    }
}

pub(crate) fn addresses(name: &str) -> Result<Vec<IpAddr>, Missing> {
    let name = CString::new(name).map_err(|_| Missing::Unknown)?;
    // One for each address, not one for each kind of socket.
    let hints = libc::addrinfo {
        ai_flags: 0,
        ai_family: libc::AF_UNSPEC,
        ai_socktype: libc::SOCK_STREAM,
        ai_protocol: 0,
        ai_addrlen: 0,
        ai_addr: ptr::null_mut(),
        ai_canonname: ptr::null_mut(),
        ai_next: ptr::null_mut(),
    };
    let mut list = ptr::null_mut();
    // SAFETY: name and hints live on, the name ends with NUL, and the list is written only.
    let code = unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &hints, &mut list) };
    if code != 0 {
        return Err(missing(code));
    }
    let list = Found(list);
    let mut addresses = Vec::new();
    let mut next = list.0;
    while !next.is_null() {
        // SAFETY: a node of the list, which lives until the end of this function.
        let node = unsafe { &*next };
        next = node.ai_next;
        let address = match node.ai_family {
            libc::AF_INET => {
                // SAFETY: the family says that a `sockaddr_in` is there, aligned or not.
                let v4 = unsafe { ptr::read_unaligned(node.ai_addr.cast::<libc::sockaddr_in>()) };
                IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr)))
            }
            libc::AF_INET6 => {
                // SAFETY: the family says that a `sockaddr_in6` is there, aligned or not.
                let v6 = unsafe { ptr::read_unaligned(node.ai_addr.cast::<libc::sockaddr_in6>()) };
                IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)).to_canonical()
            }
            _ => continue,
        };
        addresses.push(address);
    }
    Ok(addresses)
}

pub(crate) fn name_of(address: IpAddr) -> Result<String, Missing> {
    match address.to_canonical() {
        IpAddr::V4(address) => name_at(&libc::sockaddr_in {
            sin_family: family(libc::AF_INET),
            sin_port: 0,
            sin_addr: libc::in_addr { s_addr: address.to_bits().to_be() },
            sin_zero: [0; 8],
        }),
        IpAddr::V6(address) => name_at(&libc::sockaddr_in6 {
            sin6_family: family(libc::AF_INET6),
            sin6_port: 0,
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: address.octets() },
            sin6_scope_id: 0,
        }),
    }
}

fn family(family: c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).expect("a small number")
}

/// The name at a socket's address, of whatever family.
fn name_at<T>(socket: &T) -> Result<String, Missing> {
    let mut name: [c_char; HOST_BYTES_MAX] = [0; HOST_BYTES_MAX];
    let name_len = libc::socklen_t::try_from(name.len()).expect("small");
    let socket_len = libc::socklen_t::try_from(size_of::<T>()).expect("small");
    // SAFETY: the socket's address is as long as we say, and the name is written within its length.
    let code = unsafe {
        libc::getnameinfo(
            ptr::from_ref(socket).cast(),
            socket_len,
            name.as_mut_ptr(),
            name_len,
            ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    if code != 0 {
        return Err(missing(code));
    }
    let name = name.map(c_char::cast_unsigned);
    let name = CStr::from_bytes_until_nul(&name).map_err(|_| Missing::Unknown)?;
    name.to_str().map(str::to_owned).map_err(|_| Missing::Unknown)
}

/// What an error of `getaddrinfo` comes down to.
fn missing(code: c_int) -> Missing {
    match code {
        libc::EAI_NONAME | libc::EAI_NODATA => Missing::Unknown,
        _ => Missing::Away,
    }
}

pub(crate) fn groups_of(uid: u32) -> Result<Vec<u32>, Missing> {
    let mut buffer: Vec<c_char> = vec![0; 1024];
    loop {
        let mut user = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: libc writes the record, text within the buffer, and where the record is.
        let code = unsafe {
            libc::getpwuid_r(uid, user.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &mut found)
        };
        match code {
            0 if found.is_null() => return Err(Missing::Unknown),
            0 => {
                // SAFETY: found, so libc has written it.
                let user = unsafe { user.assume_init() };
                return groups(user.pw_name, user.pw_gid);
            }
            libc::ERANGE if buffer.len() < USER_BYTES_MAX => {
                let len = buffer.len() * 2;
                buffer.resize(len, 0);
            }
            libc::ENOENT | libc::ESRCH => return Err(Missing::Unknown),
            _ => return Err(Missing::Away),
        }
    }
}

/// `name` is a text of libc that lives on meanwhile.
fn groups(name: *const c_char, gid: u32) -> Result<Vec<u32>, Missing> {
    let mut groups = vec![0; 64];
    loop {
        let mut count = c_int::try_from(groups.len()).expect("at most GROUPS_MAX");
        // SAFETY: the name ends with NUL, and at most `count` groups are written.
        let code = unsafe { libc::getgrouplist(name, gid, groups.as_mut_ptr(), &mut count) };
        let count = usize::try_from(count).unwrap_or(0);
        if code >= 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        if groups.len() >= GROUPS_MAX {
            return Err(Missing::Away);
        }
        groups.resize((groups.len() * 2).max(count).min(GROUPS_MAX), 0);
    }
}
