//! In-band registration (XEP-0077): a new account, where the server allows it.

use minidom::Element;
use tokio::time::timeout;

use super::config::{Account, ClientConfig, ConfigError};
use super::dial;
use super::login::{Stream, element, open, secure};
use crate::limits::CLOSE_TIMEOUT;
use crate::ns;
use crate::reason::OfflineReason;
use crate::stanza::iq::{self, Kind};
use crate::stanza::{error, short};
use crate::wire::{Wire, With, el};

/// Why there is no new account. Each text ends with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server cannot be reached or used.
    #[error(transparent)]
    Offline(#[from] OfflineReason),
    /// It makes no accounts this way.
    #[error(
        "the server {domain:?} does not let programs register accounts; register on its web page or ask its operator, \
         then `pigeon account add`"
    )]
    NotOffered {
        /// The server.
        domain: String,
    },
    /// It wants more than a name and a password.
    #[error(
        "the server {domain:?} wants a form to be filled in{}; register with another XMPP program, then `pigeon account add`",
        instructions.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
    )]
    Form {
        /// The server.
        domain: String,
        /// Its instructions.
        instructions: Option<String>,
    },
    /// The name is taken.
    #[error("the account {jid} exists already; choose another name, or `pigeon account add` if it is yours")]
    Taken {
        /// The account.
        jid: String,
    },
    /// It refused.
    #[error("the server {domain:?} refused to register the account: {condition}{}; try later or ask its operator",
        text.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// The server.
        domain: String,
        /// The stanza error's condition.
        condition: String,
        /// Its text.
        text: Option<String>,
    },
}

const ASK_ID: &str = "register-1";
const SET_ID: &str = "register-2";

/// Makes the account of `config` with its password. TLS comes first, as for every login.
///
/// # Errors
/// [`RegisterError`].
pub async fn register_account(config: ClientConfig) -> Result<(), RegisterError> {
    let account = Account::check(config)?;
    match timeout(account.config.online_timeout, register(&account)).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(OfflineReason::Timeout { doing: "registering" }.into()),
    }
}

async fn register(account: &Account) -> Result<(), RegisterError> {
    let tcp = dial::connect(&account.target, account.config.connect_timeout).await?;
    let mut wire = Wire::new(secure(account, tcp).await?, ns::CLIENT);
    open(&mut wire, account).await?;
    let asked = iq::request(ns::CLIENT, false, ASK_ID, &account.domain(), el("query", ns::REGISTER));
    let form = ask(&mut wire, account, &asked).await.map_err(|error| ended_at_question(error, account))?;
    let form = form.ok_or_else(|| RegisterError::NotOffered { domain: account.domain() })?;
    check_form(account, &form)?;
    let query =
        credentials(account.jid.node().map(|node| node.to_string()), account.config.password.expose());
    let set = iq::request(ns::CLIENT, true, SET_ID, &account.domain(), query);
    ask(&mut wire, account, &set).await?;
    if timeout(CLOSE_TIMEOUT, wire.close()).await.is_err() {
        tracing::debug!("the server did not close the stream in time");
    }
    Ok(())
}

/// To a server that registers nobody the question is a stanza before the login; ejabberd 23.01 ends the stream.
fn ended_at_question(error: RegisterError, account: &Account) -> RegisterError {
    match error {
        RegisterError::Offline(OfflineReason::StreamEnded { detail })
            if detail.starts_with("not-authorized") =>
        {
            RegisterError::NotOffered { domain: account.domain() }
        }
        other => other,
    }
}

/// Name and password, to register or to change the password.
pub(super) fn credentials(username: Option<String>, password: &str) -> Element {
    el("query", ns::REGISTER)
        .child(el("username", ns::REGISTER).with_text(username.unwrap_or_default()))
        .child(el("password", ns::REGISTER).with_text(password))
}

async fn ask(
    wire: &mut Stream,
    account: &Account,
    request: &Element,
) -> Result<Option<Element>, RegisterError> {
    wire.push(request);
    let answer = element(wire, account).await?;
    match iq::split(&answer) {
        Some((Kind::Result, payload)) => Ok(payload.cloned()),
        Some((Kind::Error, _)) => {
            let (condition, text) = error::of_stanza(&answer);
            Err(match condition.as_str() {
                "conflict" => RegisterError::Taken { jid: account.jid.to_string() },
                "service-unavailable" | "feature-not-implemented" | "not-allowed" => {
                    RegisterError::NotOffered { domain: account.domain() }
                }
                _ => RegisterError::Refused { domain: account.domain(), condition, text },
            })
        }
        _ => {
            Err(OfflineReason::unexpected(&answer, &account.domain(), "an answer to the registration").into())
        }
    }
}

fn check_form(account: &Account, form: &Element) -> Result<(), RegisterError> {
    let has = |name: &str| form.has_child(name, ns::REGISTER);
    let known = ["instructions", "username", "password", "registered"];
    let asked = |field: &Element| {
        let name = field.attr("var").unwrap_or_default();
        field.has_child("required", ns::DATA) && !known.contains(&name)
    };
    let wants_more = form.children().any(|child| match child.ns().as_str() {
        ns::REGISTER => !known.contains(&child.name()),
        // The same fields once more, as a form; or more than we can give.
        ns::DATA => child.children().any(asked),
        _ => false,
    });
    if has("username") && has("password") && !wants_more {
        return Ok(());
    }
    let instructions = form.get_child("instructions", ns::REGISTER).map(|text| short(text.text()));
    Err(RegisterError::Form { domain: account.domain(), instructions })
}
