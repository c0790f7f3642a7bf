//! Each server starts, accepts on its ports, survives a restart, has its accounts, and leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use pigeon_harness::{Kind, Server, ServerSpec};

fn spec(kind: Kind) -> ServerSpec {
    ServerSpec::new("example.org").on(kind).user("elaine", "pw-elaine").user("jerry", "pw-jerry")
}

/// Opens an XMPP stream and returns what the server says until its features.
fn stream_features(server: &Server) -> String {
    let mut stream = TcpStream::connect(server.c2s_addr()).unwrap();
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

fn starts_on_loopback_and_speaks_xmpp(kind: Kind) {
    let server = Server::start_on_loopback(spec(kind)).unwrap();
    let said = stream_features(&server);
    assert!(said.contains("urn:ietf:params:xml:ns:xmpp-tls"), "{said}");
    assert!(TcpStream::connect(server.component_addr()).is_ok());
    assert!(server.ca_file().is_file());
    let log = std::fs::read_to_string(server.log_file()).unwrap();
    assert!(!log.contains("error"), "{log}");
}

fn two_servers_do_not_disturb_each_other_and_go_with_their_values(kind: Kind) {
    let first = Server::start_on_loopback(spec(kind)).unwrap();
    let second = Server::start_on_loopback(spec(kind)).unwrap();
    let (address, state, pid) = (first.c2s_addr(), first.ca_file(), first.pid().unwrap());
    drop(first);
    assert!(TcpStream::connect(address).is_err());
    assert!(!state.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}/exe")).exists());
    stream_features(&second);
}

fn comes_back_on_the_same_ports_after_stop_and_after_a_crash(kind: Kind) {
    let mut server = Server::start_on_loopback(spec(kind)).unwrap();
    let address = server.c2s_addr();
    server.restart().unwrap();
    stream_features(&server);
    server.kill();
    assert!(TcpStream::connect(address).is_err());
    server.restart().unwrap();
    assert_eq!(server.c2s_addr(), address);
    stream_features(&server);
}

fn accounts_come_and_go_while_it_runs(kind: Kind) {
    let server = Server::start_on_loopback(spec(kind)).unwrap();
    server.add_account("newman", "pw-newman").unwrap();
    server.remove_account("newman").unwrap();
    server.add_account("newman", "another").unwrap();
}

pigeon_harness::on_both_servers! {
    starts_on_loopback_and_speaks_xmpp,
    two_servers_do_not_disturb_each_other_and_go_with_their_values,
    comes_back_on_the_same_ports_after_stop_and_after_a_crash,
    accounts_come_and_go_while_it_runs,
}
