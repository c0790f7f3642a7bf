//! Prosody: its configuration, accounts and command line.

use std::fs;
use std::process::Command;
use std::thread;

use super::Server;
use crate::error::Result;
use crate::spawn::run;

pub(super) const PACKAGE: &str = "prosody prosody-modules openssl";
const CONFIG: &str = "prosody.cfg.lua";

/// Writes the configuration and the accounts.
pub(super) fn prepare(server: &Server) -> Result<()> {
    server.write(CONFIG, &lua(server))?;
    // Each call loads Lua anew: side by side.
    thread::scope(|scope| {
        let users = server.spec.users.iter();
        let jobs: Vec<_> =
            users.map(|(name, password)| scope.spawn(|| register(server, name, password))).collect();
        jobs.into_iter().try_for_each(|job| match job.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// The server in the foreground.
pub(super) fn command(server: &Server) -> Command {
    let mut command = server.place.command("prosody");
    command.args(["--root", "-F", "--config"]).arg(server.file(CONFIG));
    command
}

/// prosodyctl writes the data files itself, no running server needed.
pub(super) fn register(server: &Server, name: &str, password: &str) -> Result<()> {
    let mut command = prosodyctl(server);
    command.args(["register", name, &server.spec.domain, password]);
    run(PACKAGE, command).map(|_said| ())
}

pub(super) fn unregister(server: &Server, name: &str) -> Result<()> {
    let mut command = prosodyctl(server);
    command.args(["deluser", &format!("{name}@{}", server.spec.domain)]);
    run(PACKAGE, command).map(|_said| ())
}

fn prosodyctl(server: &Server) -> Command {
    let mut command = server.place.command("prosodyctl");
    command.arg("--root").arg("--config").arg(server.file(CONFIG));
    command
}

/// Stanzas as Lua tables, one after the other.
pub(super) fn archive(server: &Server, user: &str) -> String {
    let encoded = |text: &str| text.replace('.', "%2e").replace('-', "%2d");
    let folder = server.file("data").join(encoded(&server.spec.domain)).join("archive");
    let file = folder.join(format!("{}.list", encoded(user)));
    String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
}

/// A Lua string literal of anything.
fn quoted(text: &str) -> String {
    let mut literal = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => literal.extend(['\\', char::from(byte)]),
            0x20..=0x7e => literal.push(char::from(byte)),
            other => literal.push_str(&format!("\\{other:03}")),
        }
    }
    literal.push('"');
    literal
}

/// The whole configuration.
fn lua(server: &Server) -> String {
    let (spec, ports) = (&server.spec, &server.ports);
    let file = |name: &str| quoted(&server.file(name).to_string_lossy());
    let names = [vec![spec.bridge.clone()], spec.shard_names()].concat();
    let privileged: String = names
        .iter()
        .filter(|_| spec.privilege)
        .map(|name| format!("    [{}] = {{ message = \"outgoing\" }},\n", quoted(name)))
        .collect();
    let components: String = names
        .iter()
        .map(|name| {
            format!(
                "Component {name}\n  component_secret = {secret}\n  modules_enabled = {{ \"privilege\" }}\n  \
                 validate_from_addresses = {validate}\n\n",
                name = quoted(name),
                secret = quoted(&spec.component_secret),
                validate = spec.validate_from,
            )
        })
        .collect();
    let disabled = if spec.offline_store { "\"s2s\"" } else { "\"s2s\", \"offline\"" };
    let offline = if spec.offline_store { "\"offline\", \"mam\", " } else { "" };
    format!(
        r#"run_as_root = true -- read only when root starts it
daemonize = false
pidfile = {pidfile}
data_path = {data}
plugin_paths = {{ "/usr/lib/prosody/modules" }}
interfaces = {{ {c2s_ip} }}
c2s_ports = {{ {c2s_port} }}
c2s_direct_tls_ports = {{}}
legacy_ssl_ports = {{}}
component_interfaces = {{ {component_ip} }}
component_ports = {{ {component_port} }}
http_ports = {{}}
https_ports = {{}}
ssl = {{ certificate = {cert}, key = {key} }}
modules_enabled = {{
  {limits}"register", "roster", "saslauth", "tls", "disco", "ping", "pep", "smacks", "carbons",
  {offline}"blocklist", "time", "version", "privilege"{push}
}}
modules_disabled = {{ {disabled} }}
storage = "internal"
authentication = "internal_hashed"
c2s_require_encryption = {require_tls}
allow_unencrypted_plain_auth = false
allow_registration = {register}
smacks_hibernation_time = 600
smacks_max_queue_size = 5000
archive_expires_after = "1w"
default_archive_policy = true
storage_archive_item_limit = {offline_max} -- of the archive too
push_notification_with_body = false
push_notification_with_sender = false
limits = {{ c2s = {{ rate = "{client_kb_per_s}kb/s" }} }} -- counts where its module is loaded
log = {{ {{ levels = {{ min = "info" }}, to = "file", filename = {log} }} }}

VirtualHost {domain}
  privileged_entities = {{
{privileged}  }}

{components}"#,
        pidfile = file("prosody.pid"),
        data = file("data"),
        c2s_ip = quoted(&ports.c2s.ip().to_string()),
        c2s_port = ports.c2s.port(),
        component_ip = quoted(&ports.component.ip().to_string()),
        component_port = ports.component.port(),
        cert = file("server.crt"),
        key = file("server.key"),
        limits = if spec.client_kb_per_s.is_some() { "\"limits\", " } else { "" },
        client_kb_per_s = spec.client_kb_per_s.unwrap_or(10),
        push = if spec.push { ", \"cloud_notify\"" } else { "" },
        offline_max = spec.offline_max.unwrap_or(10_000),
        register = spec.register,
        require_tls = spec.require_tls,
        log = file("server.log"),
        domain = quoted(&spec.domain),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_cannot_leave_their_quotes() {
        assert_eq!(quoted("a\"b\\c\n"), r#""a\"b\\c\010""#);
    }
}
