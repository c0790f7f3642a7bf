//! Hosts reach each other exactly as far as their cables go, and nothing outlives its world.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use pigeon_harness::netns::{Host, World};
use pigeon_harness::{Deadline, Process, Server, ServerSpec, require_root, wait};

/// Longer than any answer takes; an answer that comes ends the wait.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long silence must last to count as such.
const SILENCE: Duration = Duration::from_millis(300);

fn bind(host: &Host, address: &str) -> UdpSocket {
    host.run(|| UdpSocket::bind(address)).unwrap().unwrap()
}

fn hears(socket: &UdpSocket, patience: Duration) -> bool {
    socket.set_read_timeout(Some(patience)).unwrap();
    socket.recv(&mut [0; 16]).is_ok()
}

#[test]
fn two_hosts_on_a_segment_hear_each_other_until_one_leaves() {
    require_root!();
    let world = World::new();
    let (elaine, kramer) = (world.host("elaine").unwrap(), world.host("kramer").unwrap());
    let local = world.segment("local").unwrap();
    elaine.attach(&local, "10.1.0.2/24").unwrap();
    let cable = kramer.attach(&local, "10.1.0.3/24").unwrap();
    let listener = bind(&elaine, "10.1.0.2:9000");
    let sender = bind(&kramer, "10.1.0.3:0");
    let send = || sender.send_to(b"hello", "10.1.0.2:9000");

    send().unwrap();
    assert!(hears(&listener, ANSWER_MAX));

    cable.down().unwrap();
    assert!(send().is_err(), "a route survived its interface");
    assert!(!hears(&listener, SILENCE));

    cable.up().unwrap();
    send().unwrap();
    assert!(hears(&listener, ANSWER_MAX));

    cable.unplug().unwrap();
    let _ = send();
    assert!(!hears(&listener, SILENCE));
    cable.plug().unwrap();
    send().unwrap();
    assert!(hears(&listener, ANSWER_MAX));

    cable.remove().unwrap();
    assert!(send().is_err());
}

#[test]
fn multicast_crosses_a_segment() {
    require_root!();
    let world = World::new();
    let (elaine, kramer) = (world.host("elaine").unwrap(), world.host("kramer").unwrap());
    let local = world.segment("local").unwrap();
    let group = Ipv4Addr::new(224, 0, 0, 251);
    for (host, address) in [(&elaine, "10.1.0.2/24"), (&kramer, "10.1.0.3/24")] {
        host.attach(&local, address).unwrap();
    }
    let listener = bind(&elaine, "0.0.0.0:5353");
    listener.join_multicast_v4(&group, &Ipv4Addr::new(10, 1, 0, 2)).unwrap();
    let sender = bind(&kramer, "10.1.0.3:0");
    sender.send_to(b"hello", (group, 5353)).unwrap();
    assert!(hears(&listener, ANSWER_MAX));
}

/// The address that the kernel gave the interface by itself, and the interface's index.
fn link_local(host: &Host, interface: &str) -> Option<(Ipv6Addr, u32)> {
    let table = host.run(|| std::fs::read_to_string("/proc/thread-self/net/if_inet6")).unwrap().unwrap();
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [address, index, _length, "20", flags, name] = fields[..] else { return None };
        // 0x40: tentative, still looking for duplicates.
        let usable = name == interface && u32::from_str_radix(flags, 16).unwrap() & 0x40 == 0;
        let address = u128::from_str_radix(address, 16).unwrap().into();
        usable.then(|| (address, u32::from_str_radix(index, 16).unwrap()))
    })
}

#[test]
fn ipv6_link_local_works_without_waiting_for_duplicates() {
    require_root!();
    let world = World::new();
    let (elaine, kramer) = (world.host("elaine").unwrap(), world.host("kramer").unwrap());
    let local = world.segment("local").unwrap();
    elaine.attach(&local, "10.1.0.2/24").unwrap();
    kramer.attach(&local, "10.1.0.3/24").unwrap();
    let find = |host| wait::poll_until(Deadline::after(ANSWER_MAX), || link_local(host, "local")).unwrap();
    let ((target, _), (own, scope)) = (find(&elaine), find(&kramer));
    let listener = bind(&elaine, "[::]:9000");
    let sender = kramer.run(|| UdpSocket::bind(SocketAddrV6::new(own, 0, 0, scope))).unwrap().unwrap();
    sender.send_to(b"hello", SocketAddrV6::new(target, 9000, 0, scope)).unwrap();
    assert!(hears(&listener, ANSWER_MAX));
}

#[test]
fn a_cable_is_heard_by_its_two_ends_only() {
    require_root!();
    let world = World::new();
    let names = ["server", "elaine", "jerry"];
    let [server, elaine, jerry] = names.map(|name| world.host(name).unwrap());
    world.cable((&server, "10.9.0.1/30"), (&elaine, "10.9.0.2/30")).unwrap();
    let (_, up) = world.cable((&server, "10.9.0.5/30"), (&jerry, "10.9.0.6/30")).unwrap();
    up.add_default_route(Ipv4Addr::new(10, 9, 0, 5).into()).unwrap();
    let listener = server.run(|| TcpListener::bind("0.0.0.0:80")).unwrap().unwrap();
    let connect = |host: &Host, to: &str| {
        let to: SocketAddr = to.parse().unwrap();
        host.run(move || TcpStream::connect_timeout(&to, SILENCE).map(drop)).unwrap()
    };
    connect(&elaine, "10.9.0.1:80").unwrap();
    // Through the default route: the server has both addresses.
    connect(&jerry, "10.9.0.1:80").unwrap();
    // The server forwards nothing.
    connect(&jerry, "10.9.0.2:80").unwrap_err();
    assert_eq!(connect(&elaine, "10.9.0.6:80").unwrap_err().kind(), io::ErrorKind::NetworkUnreachable);
    // A route comes back with its interface.
    up.down().unwrap();
    connect(&jerry, "10.9.0.1:80").unwrap_err();
    up.up().unwrap();
    connect(&jerry, "10.9.0.1:80").unwrap();
    drop(listener);
}

#[test]
fn a_slow_link_is_slow_and_a_small_mtu_is_small() {
    require_root!();
    let world = World::new();
    let (a, b) = (world.host("a").unwrap(), world.host("b").unwrap());
    let (near, _far) = world.cable((&a, "10.0.0.1/30"), (&b, "10.0.0.2/30")).unwrap();
    near.set_mtu(1280).unwrap();
    let sender = bind(&a, "10.0.0.1:0");
    let shown = a.command("ip").args(["-o", "link", "show", "dev", near.name()]).output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("mtu 1280"), "{shown:?}");
    near.limit_rate(800).unwrap();
    let listener = bind(&b, "10.0.0.2:9000");
    // The bucket lets 70,000 bytes through at once; of the rest, 100 kB/s.
    for _ in 0..150 {
        let _ = sender.send_to(&[0; 1200], "10.0.0.2:9000");
    }
    let mut arrived = 0;
    while hears(&listener, Duration::from_millis(1)) {
        arrived += 1;
    }
    assert!((1..150).contains(&arrived), "{arrived} of 150 packets arrived at once");
}

#[test]
fn a_namespace_and_its_processes_are_gone_after_the_drop() {
    require_root!();
    let world = World::new();
    let host = world.host("kramer").unwrap();
    let mut command = host.command("sh");
    // A grandchild is nobody's direct child here: only the namespace finds it.
    command.args(["-c", "sleep 600 & echo started; wait"]).stdout(Stdio::piped());
    let mut process = Process::spawn("sh", "dash", command).unwrap();
    let mut started = [0; 8];
    io::Read::read_exact(&mut process.child().stdout.take().unwrap(), &mut started).unwrap();
    assert_eq!(host.processes().len(), 3);
    let namespace = host.namespace().to_path_buf();
    drop(world);
    let gone = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let mut held = all.filter(|entry| {
            std::fs::read_link(entry.path().join("ns/net")).is_ok_and(|link| link == namespace)
        });
        held.next().is_none().then_some(())
    };
    wait::poll_until(Deadline::after(ANSWER_MAX), gone).expect("a process stayed in the namespace");
    assert!(process.wait(Deadline::after(ANSWER_MAX)).is_ok());
}

#[test]
fn worlds_do_not_meet() {
    require_root!();
    let (one, two) = (World::new(), World::new());
    let (a, b) = (one.host("a").unwrap(), two.host("a").unwrap());
    assert_ne!(a.namespace(), b.namespace());
    a.attach(&one.segment("s").unwrap(), "10.0.0.1/24").unwrap();
    b.attach(&two.segment("s").unwrap(), "10.0.0.2/24").unwrap();
    let listener = bind(&b, "10.0.0.2:9000");
    bind(&a, "10.0.0.1:0").send_to(b"hello", "10.0.0.2:9000").unwrap();
    assert!(!hears(&listener, SILENCE));
}

#[test]
fn prosody_serves_other_hosts() {
    require_root!();
    let world = World::new();
    let (server, jerry) = (world.host("server").unwrap(), world.host("jerry").unwrap());
    world.cable((&server, "10.9.0.1/30"), (&jerry, "10.9.0.2/30")).unwrap();
    let prosody = Server::start(&server, ServerSpec::default().user("jerry", "pw")).unwrap();
    assert_eq!((prosody.c2s_port(), prosody.component_port()), (5222, 5347));
    let address: SocketAddr = "10.9.0.1:5222".parse().unwrap();
    jerry.run(|| TcpStream::connect_timeout(&address, ANSWER_MAX)).unwrap().unwrap();
    assert!(jerry.processes().len() == 1, "the server runs on the wrong host");
}
