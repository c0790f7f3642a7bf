//! ejabberd: its configuration, accounts and command line.
//!
//! It runs as an Erlang node without distribution: no epmd, no cookie, no port beyond those of its config. Debian's
//! `ejabberdctl` insists on the user `ejabberd` when root calls it, so `erl` is called directly; what an operator does
//! meanwhile goes through ejabberd's HTTP API on loopback. Archive and offline store are in SQLite, because on Mnesia
//! each archived message costs time in proportion to the archive.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use super::Server;
use crate::error::{HarnessError, Result};

pub(super) const PACKAGE: &str = "ejabberd erlang-p1-sqlite3 openssl";
/// Written by the server when it is up and has its accounts.
pub(super) const READY: &str = "ready";
const CONFIG: &str = "ejabberd.yml";
const DATABASE: &str = "data/archive.db";
/// 23.01 does not create its own schema; 23.10 and later do.
const SCHEMA: &str = "/usr/share/ejabberd/sql/lite.sql";
/// One call of the HTTP API.
const API_MAX: Duration = Duration::from_secs(30);

/// Writes the configuration. The accounts are made by the server itself at its start.
pub(super) fn prepare(server: &Server) -> Result<()> {
    let pem = ["server.key", "server.crt", "ca.crt"].map(|name| {
        let path = server.file(name);
        fs::read_to_string(&path).map_err(HarnessError::file("read", &path))
    });
    let pem = pem.into_iter().collect::<Result<Vec<_>>>()?.concat();
    server.write("server.pem", &pem)?;
    server.write(CONFIG, &yaml(server))
}

/// The server in the foreground, under Erlang's own launcher.
pub(super) fn command(server: &Server) -> Result<Command> {
    let ready = server.file(READY);
    if ready.exists() {
        fs::remove_file(&ready).map_err(HarnessError::file("remove", &ready))?;
    }
    let mut command = server.place.command("erl");
    let data = server.file("data");
    command
        .current_dir(&data)
        .env("HOME", server.file("home"))
        .env("ERL_LIBS", format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH))
        .env("EJABBERD_CONFIG_PATH", server.file(CONFIG))
        .env("EJABBERD_LOG_PATH", server.log_file())
        .env("ERL_CRASH_DUMP_BYTES", "0")
        .args(["-noinput", "+S", "2:2", "+sbwt", "none", "-mnesia", "dir", &erlang(&data.to_string_lossy())])
        .args(["-eval", &schema(server), "-s", "ejabberd", "-eval", &accounts(server)]);
    Ok(command)
}

pub(super) fn register(server: &Server, name: &str, password: &str) -> Result<()> {
    let (host, name, password) = (json(&server.spec.domain), json(name), json(password));
    api(server, "register", &format!("{{\"user\":{name},\"host\":{host},\"password\":{password}}}"))
}

pub(super) fn unregister(server: &Server, name: &str) -> Result<()> {
    api(server, "unregister", &format!("{{\"user\":{},\"host\":{}}}", json(name), json(&server.spec.domain)))
}

/// The whole database file: SQLite keeps text as it is.
pub(super) fn archive(server: &Server) -> String {
    let read = |suffix: &str| fs::read(server.file(&format!("{DATABASE}{suffix}"))).unwrap_or_default();
    String::from_utf8_lossy(&[read(""), read("-wal")].concat()).into_owned()
}

/// One request to the HTTP API, HTTP/1.0 so that the answer ends with the connection.
fn api(server: &Server, call: &str, body: &str) -> Result<()> {
    let failed =
        |detail: String| HarnessError::Output { what: format!("ejabberd's answer to {call}"), detail };
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(server.ports.control)?;
        stream.set_read_timeout(Some(API_MAX))?;
        let length = body.len();
        write!(
            stream,
            "POST /api/{call} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| failed(error.to_string()))?;
    let is_done = answer.split_ascii_whitespace().nth(1) == Some("200");
    if is_done { Ok(()) } else { Err(failed(answer)) }
}

/// Erlang that makes the database's tables, where there are none.
fn schema(server: &Server) -> String {
    let file = erlang(&server.file(DATABASE).to_string_lossy());
    format!(
        "case filelib:is_file({file}) of true -> ok; false -> \
         {{ok, Schema}} = file:read_file({schema}), {{ok, Db}} = sqlite3:open(schema, [{{file, {file}}}]), \
         sqlite3:sql_exec_script_timeout(Db, <<\"PRAGMA synchronous=OFF; BEGIN;\", Schema/binary, \"COMMIT;\">>, infinity), \
         sqlite3:close(Db) end.",
        schema = erlang(SCHEMA),
    )
}

/// Erlang that makes the accounts, where they are missing, and then the file [`READY`].
fn accounts(server: &Server) -> String {
    let host = erlang(&server.spec.domain);
    let register = |(name, password): &(String, String)| {
        let (name, password) = (erlang(name), erlang(password));
        format!("ejabberd_auth:try_register(<<{name}>>, <<{host}>>, <<{password}>>), ")
    };
    let users: String = server.spec.users.iter().map(register).collect();
    format!("{users}file:write_file({}, <<\"1\">>).", erlang(&server.file(READY).to_string_lossy()))
}

/// An Erlang string literal.
fn erlang(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A JSON string, which is a YAML string too.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The whole configuration.
fn yaml(server: &Server) -> String {
    let (spec, ports) = (&server.spec, &server.ports);
    let file = |name: &str| json(&server.file(name).to_string_lossy());
    let secret = json(&spec.component_secret);
    let names = [vec![spec.bridge.clone()], spec.shard_names()].concat();
    let names: Vec<String> = names.iter().map(|name| json(name)).collect();
    let hosts: String = names.iter().map(|name| format!("      {name}: {{password: {secret}}}\n")).collect();
    let bridges = names.join(", ");
    let register =
        if spec.register { "  mod_register: {ip_access: all, registration_watchers: []}\n" } else { "" };
    let push = if spec.push { "  mod_push: {include_body: false, include_sender: false}\n" } else { "" };
    let offline_max = spec.offline_max.unwrap_or(5_000);
    let privilege = if spec.privilege { "  mod_privilege: {message: {outgoing: bridge_only}}\n" } else { "" };
    let offline = if spec.offline_store {
        "  mod_mam: {db_type: sql, default: always, assume_mam_usage: true, request_activates_archiving: false}\n  \
         mod_offline: {db_type: sql, access_max_user_messages: offline_all, store_empty_body: true, \
         use_mam_for_storage: false}\n"
    } else {
        ""
    };
    format!(
        r#"hosts: [{domain}]
loglevel: info
certfiles: [{pem}]
ca_file: {ca}
auth_method: internal
auth_password_format: scram
auth_scram_hash: sha256
default_db: mnesia
sql_type: sqlite
sql_database: {database}
acme: {{auto: false}}
registration_timeout: infinity
listen:
  - port: {c2s_port}
    ip: {c2s_ip}
    module: ejabberd_c2s
    starttls: true
    starttls_required: {require_tls}
    max_stanza_size: 262144
    max_fsm_queue: 20000
    access: all
    shaper: clients # as packaged 3,000 bytes a second
  - port: {component_port}
    ip: {component_ip}
    module: ejabberd_service
    access: all
    shaper: none
    max_stanza_size: 524288
    max_fsm_queue: 50000
    check_from: {validate_from}
    global_routes: false # else each component gets all names of this listener
    hosts:
{hosts}  - port: {control_port}
    ip: {control_ip}
    module: ejabberd_http
    request_handlers: {{/api: mod_http_api}}
api_permissions:
  "tests":
    who: [{{ip: "127.0.0.0/8"}}]
    what: "*"
acl:
  bridge:
    server: [{bridges}]
access_rules:
  bridge_only: {{allow: bridge}}
shaper:
  slow: {slow}
shaper_rules:
  clients: {{{shaper}: all}}
  offline_all: {{{offline_max}: all}}
modules:
  mod_adhoc: {{}}
  mod_admin_extra: {{}}
  mod_caps: {{}}
  mod_carboncopy: {{}}
  mod_disco: {{}}
  mod_http_api: {{}}
{offline}  mod_ping: {{}}
{privilege}{push}  mod_pubsub: {{plugins: [flat, pep]}}
{register}  mod_roster: {{}}
  mod_stream_mgmt: {{resend_on_timeout: if_offline, resume_timeout: 600, ack_timeout: 60, max_ack_queue: 5000}}
  mod_version: {{}}
"#,
        domain = json(&spec.domain),
        pem = file("server.pem"),
        ca = file("ca.crt"),
        database = file(DATABASE),
        shaper = if spec.client_kb_per_s.is_some() { "slow" } else { "none" },
        slow = spec.client_kb_per_s.unwrap_or(3) * 1_000,
        c2s_port = ports.c2s.port(),
        c2s_ip = json(&ports.c2s.ip().to_string()),
        require_tls = spec.require_tls,
        component_port = ports.component.port(),
        component_ip = json(&ports.component.ip().to_string()),
        validate_from = spec.validate_from,
        control_port = ports.control.port(),
        control_ip = json(&ports.control.ip().to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_cannot_leave_their_quotes() {
        assert_eq!(erlang("a\"b\\c"), r#""a\"b\\c""#);
    }
}
