//! A throw-away CA and one server certificate, by openssl.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::error::{HarnessError, Result};
use crate::spawn::{run, tethered};

/// Long enough for any test, short enough that nobody is tempted to keep it.
const DAYS: &str = "30";

/// Writes `ca.crt`, `server.crt` and `server.key` into `dir`, the certificate valid for `names`.
pub(super) fn make(dir: &Path, names: &[&str]) -> Result<()> {
    let alternatives: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
    let extensions = dir.join("server.ext");
    let text = format!("subjectAltName={}\nbasicConstraints=CA:FALSE\n", alternatives.join(","));
    fs::write(&extensions, text).map_err(HarnessError::file("write", &extensions))?;
    openssl(
        dir,
        &["req", "-x509", "-days", DAYS, "-subj", "/CN=CarrierPigeon test CA"],
        &[
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
        ],
    )?;
    openssl(dir, &["req", "-subj", "/CN=server"], &["-keyout", "server.key", "-out", "server.csr"])?;
    let mut sign = command(dir);
    sign.args(["x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"]);
    sign.args(["-days", DAYS, "-sha256", "-extfile", "server.ext", "-out", "server.crt"]);
    run("openssl", sign).map(|_said| ())
}

/// A request with a fresh P-256 key: quick to make, and every TLS client has it.
fn openssl(dir: &Path, kind: &[&str], rest: &[&str]) -> Result<()> {
    let mut request = command(dir);
    request.args(kind).args([
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-sha256",
    ]);
    request.args(rest);
    run("openssl", request).map(|_said| ())
}

fn command(dir: &Path) -> Command {
    let mut openssl = tethered("openssl");
    openssl.current_dir(dir);
    openssl
}
