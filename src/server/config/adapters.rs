//! The keys below `adapters`.

use std::net::{IpAddr, Ipv4Addr};

use super::{Locks, Nfs, Portmapper, reader::Section};

/// Every address of this machine.
const ALL: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// NFS and its helpers.
pub(super) fn nfs(s: &mut Section<'_>) -> Nfs {
    Nfs {
        enabled: s.value("enabled", true, "Serve NFS."),
        port: s.value("port", 12_049, "Port of NFS, MOUNT, NLM and NSM; 0: any free one."),
        bind: s.value("bind", ALL, "The address to listen on."),
        udp: s.value("udp", true, "Serve MOUNT, NLM and NSM over UDP too."),
        portmapper: s.section("portmapper", "Tells clients our port.", portmapper),
        locks: s.section("locks", "Locks of NLM over a restart.", locks),
    }
}

fn locks(s: &mut Section<'_>) -> Locks {
    let usual = ::nfs::MonitorConfig::default();
    let grace = "How long after a restart clients reclaim locks, and none may take new ones.";
    Locks {
        grace: s.value("grace", usual.grace, grace),
        name: s.option("name", "How clients know this host; otherwise by its host name."),
    }
}

fn portmapper(s: &mut Section<'_>) -> Portmapper {
    let register = "Register with the system's rpcbind, which clients ask at port 111.";
    Portmapper {
        enabled: s.value("enabled", false, "Serve a portmapper of our own, over TCP and UDP."),
        port: s.value("port", 10_111, "Its port; clients look for it at 111. 0: any free one."),
        register: s.value("register", false, register),
    }
}

pub(super) fn smb(s: &mut Section<'_>, remarks: &mut Vec<String>) {
    s.quiet();
    let enabled = s.value("enabled", true, "Serve SMB. Not offered yet.");
    s.value("port", 12_445_u16, "TCP port.");
    s.value("bind", ALL, "The address to listen on.");
    if enabled && s.is_given() {
        remarks.push("accepted, but not offered yet: adapters.smb".to_owned());
    }
}
