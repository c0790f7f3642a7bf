//! Prosody starts, accepts on both ports, survives a restart, and leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use pigeon_harness::{Prosody, ProsodySpec};

fn spec() -> ProsodySpec {
    ProsodySpec::new("example.org").user("elaine", "pw-elaine").user("jerry", "pw-jerry")
}

/// Opens an XMPP stream and returns what the server says until its features.
fn stream_features(prosody: &Prosody) -> String {
    let mut stream = TcpStream::connect(prosody.c2s_addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
        .write_all(
            b"<stream:stream to='example.org' version='1.0' xmlns='jabber:client' \
              xmlns:stream='http://etherx.jabber.org/streams'>",
        )
        .unwrap();
    let (mut said, mut buffer) = (String::new(), [0_u8; 4096]);
    while !said.contains("</stream:features>") {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the server hung up after: {said}");
        said.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    said
}

#[test]
fn starts_on_loopback_and_speaks_xmpp() {
    let prosody = Prosody::start_on_loopback(spec()).unwrap();
    let said = stream_features(&prosody);
    assert!(said.contains("urn:ietf:params:xml:ns:xmpp-tls"), "{said}");
    assert!(TcpStream::connect(prosody.component_addr()).is_ok());
    assert!(prosody.ca_file().is_file());
    let log = std::fs::read_to_string(prosody.log_file()).unwrap();
    assert!(!log.contains("error"), "{log}");
}

#[test]
fn two_servers_do_not_disturb_each_other_and_go_with_their_values() {
    let first = Prosody::start_on_loopback(spec()).unwrap();
    let second = Prosody::start_on_loopback(spec()).unwrap();
    let (address, state, pid) = (first.c2s_addr(), first.ca_file(), first.pid().unwrap());
    drop(first);
    assert!(TcpStream::connect(address).is_err());
    assert!(!state.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}/exe")).exists());
    stream_features(&second);
}

#[test]
fn comes_back_on_the_same_ports_after_stop_and_after_a_crash() {
    let mut prosody = Prosody::start_on_loopback(spec()).unwrap();
    let address = prosody.c2s_addr();
    prosody.restart().unwrap();
    stream_features(&prosody);
    prosody.kill();
    assert!(TcpStream::connect(address).is_err());
    prosody.restart().unwrap();
    assert_eq!(prosody.c2s_addr(), address);
    stream_features(&prosody);
}
