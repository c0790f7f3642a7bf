//! What an operator does: stop, start, restart the server, check a config.

use std::process::Command;
use std::time::{Duration, Instant};

use pigeon_bundle::VerdictCode;
use pigeon_harness::Kind;
use pigeon_harness::files::{binary, temp_dir};

use crate::session::PATIENCE;
use crate::world::{Person, World, bytes_of};

pub async fn sigterm_stops_it_cleanly_and_the_next_start_goes_on(kind: Kind) {
    let mut world = World::new(kind).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let mut to = world.login("jerry").await;
    let first = elaine.writes(&jerry, &world.card);
    assert_eq!(her.brings(&bytes_of(&first), &world.card).await, VerdictCode::Accepted);
    let status = world.bridge.terminate(Duration::from_secs(20)).unwrap();
    assert!(status.success(), "{status}");
    // Without a bridge the server says so, unless it was just taking leave of it: then the upload is lost.
    let deadline = Instant::now() + PATIENCE;
    while her.refusals() == 0 {
        assert!(Instant::now() < deadline, "no upload came back");
        her.upload(&bytes_of(&first)).await;
        her.gather(&world.card, Duration::from_secs(1)).await;
    }
    world.restart_bridge();
    assert!(!world.log().contains("after a crash"), "{}", world.log());
    let second = elaine.writes(&jerry, &world.card);
    assert_eq!(her.brings(&bytes_of(&second), &world.card).await, VerdictCode::Accepted);
    assert_eq!(her.brings(&bytes_of(&first), &world.card).await, VerdictCode::Accepted);
    assert_eq!(to.receive_until(&second.bundle).await.len(), 1);
}

pub async fn it_comes_back_when_its_server_does(kind: Kind) {
    let mut world = World::new(kind).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let logins = world.server.component_logins();
    world.server.restart().unwrap();
    let again = || (world.server.component_logins() > logins).then_some(());
    pigeon_harness::wait::poll_until(Duration::from_secs(60), again).unwrap();
    let mut her = world.login("elaine").await;
    let mut to = world.login("jerry").await;
    let message = elaine.writes(&jerry, &world.card);
    assert_eq!(her.brings(&bytes_of(&message), &world.card).await, VerdictCode::Accepted);
    assert_eq!(to.receive().await.bundle, message.bundle);
}

#[test]
fn check_config_names_key_file_and_remedy() {
    let dir = temp_dir("pigeon-bridge-config-").unwrap();
    let path = dir.path().join("bridge.toml");
    let good = "data_dir = 'data'\ndomain = 'bridge.example.org'\nserver = 'localhost:5347'\n\
                secret_file = 'secret'\nhosts = ['example.org']\n";
    std::fs::write(dir.path().join("secret"), "s\n").unwrap();
    let check = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let program = binary("pigeon-bridge").unwrap();
        let output = Command::new(program).arg("check-config").arg("--config").arg(&path).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = check(good);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("bridge.toml: ok"), "{said}");
    let (code, said) = check(&format!("{good}colour = 'grey'\n"));
    assert_eq!(code, Some(1), "{said}");
    for part in ["colour", "bridge.toml", "help:"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(!dir.path().join("data").exists(), "check-config makes nothing");
}

pub async fn status_metrics_and_forget_work_while_it_runs(kind: Kind) {
    let world = World::configured(kind, "[metrics]\nlisten = '127.0.0.1:0'").await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let message = elaine.writes(&jerry, &world.card);
    assert_eq!(her.brings(&bytes_of(&message), &world.card).await, VerdictCode::Accepted);
    let ask = |args: &[&str]| world.ask(args);
    let (good, status) = ask(&["status"]);
    assert!(
        good && status.contains("server      online\n") && status.contains("deliveries  1\n"),
        "{status}"
    );
    let (good, metrics) = ask(&["metrics"]);
    assert!(good && metrics.contains("pigeon_bridge_verdicts_total{verdict=\"Accepted\"} 1\n"), "{metrics}");
    assert!(!metrics.contains("elaine") && !metrics.contains("jerry"));
    // A user who has lost the device asks the operator.
    assert!(her.register(&Person::new("elaine").card()).await.is_err());
    assert!(ask(&["forget", &elaine.jid()]).0);
    assert!(!ask(&["forget", &elaine.jid()]).0);
    her.register(&Person::new("elaine").card()).await.unwrap();
    // It has started itself again with one arena, as the same process.
    let environment =
        std::fs::read(format!("/proc/{}/environ", world.bridge.daemon().pid().unwrap())).unwrap();
    assert!(environment.split(|byte| *byte == 0).any(|line| line == b"MALLOC_ARENA_MAX=1"));
}
