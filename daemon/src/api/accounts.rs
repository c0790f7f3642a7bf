//! The accounts part of the local API.

use pigeon_proto::api;
use pigeon_xmpp::{ClientConfig, ClientHandle, IqError, RegisterError, Secret, register_account};
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Status};

use crate::accounts::{AccountError, Accounts, check};
use crate::config::Account;
use crate::input::UplinkCommand;
use crate::mailbox::Mailbox;
use crate::uplink::UplinkStates;

use super::convert::status_of;

/// What these requests work with.
pub struct AccountDesk {
    /// The accounts.
    pub accounts: Accounts,
    /// How they do.
    pub states: UplinkStates,
    /// To the sessions.
    pub uplink: mpsc::UnboundedSender<UplinkCommand>,
}

impl AccountDesk {
    /// All accounts and how they do.
    pub fn list(&self) -> api::AccountsReply {
        let known = self.states.all();
        let state = |entry: crate::accounts::Entry| {
            let jid = entry.account.jid;
            known.iter().find(|state| state.jid == jid).cloned().unwrap_or(api::Uplink {
                state: if entry.is_on { "connecting" } else { "logged out" }.to_owned(),
                jid,
                ..api::Uplink::default()
            })
        };
        api::AccountsReply { accounts: self.accounts.all().into_iter().map(state).collect() }
    }

    /// Adds an account, which is registered with its server before if that is asked for.
    pub async fn add(
        &self,
        mailbox: &Mailbox,
        request: api::AddAccountRequest,
    ) -> Result<api::AccountsReply, Status> {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let domain = request.jid.split_once('@').map(|(_, domain)| format!("bridge.{domain}"));
        let account = Account {
            bridge: some(request.bridge).or(domain).unwrap_or_default(),
            jid: request.jid,
            password_file: None,
            server: some(request.server),
            direct_tls: request.direct_tls,
            ca_file: some(request.ca_file).map(Into::into),
            bridge_key: some(request.bridge_key),
            allow_plain: request.allow_plain,
        };
        let password = Secret::from(request.password);
        check(&account, &password).map_err(|error| refused(&error))?;
        if request.register {
            if self.accounts.get(&account.jid).is_ok() {
                return Err(refused(&AccountError::Exists { jid: account.jid }));
            }
            let config = ClientConfig {
                server: account.server.clone(),
                direct_tls: account.direct_tls,
                ca_file: account.ca_file.clone(),
                ..ClientConfig::new(account.jid.clone(), password.clone(), account.bridge.clone())
            };
            register_account(config).await.map_err(|error| not_registered(&error))?;
        }
        self.accounts.add(account, password).map_err(|error| refused(&error))?;
        self.renew_card(mailbox).await?;
        Ok(self.list())
    }

    /// Logs in or out.
    pub fn set(&self, request: api::AccountRequest, is_on: bool) -> Result<api::AccountsReply, Status> {
        let password = Some(request.password).filter(|text| !text.is_empty()).map(Secret::from);
        self.accounts.set(&request.jid, is_on, password).map_err(|error| refused(&error))?;
        Ok(self.list())
    }

    /// Changes the password at the server, then here. A crash in between is mended by `account login` with the new one.
    pub async fn change_password(&self, request: api::AccountRequest) -> Result<api::AccountsReply, Status> {
        let entry = self.accounts.get(&request.jid).map_err(|error| refused(&error))?;
        if entry.is_configured {
            return Err(refused(&AccountError::Configured { jid: request.jid }));
        }
        let password = Secret::from(request.password);
        check(&entry.account, &password).map_err(|error| refused(&error))?;
        let client = self.client(Some(&request.jid)).await?;
        client.change_password(&request.jid, &password).await.map_err(|error| {
            let text = match &error {
                IqError::Refused { condition, .. } => {
                    format!("the server refused the new password: {condition}")
                }
                other => other.to_string(),
            };
            Status::new(Code::FailedPrecondition, text)
        })?;
        self.accounts.set(&request.jid, entry.is_on, Some(password)).map_err(|error| refused(&error))?;
        Ok(self.list())
    }

    /// Forgets an account; it stays at its server.
    pub async fn remove(&self, mailbox: &Mailbox, jid: &str) -> Result<api::AccountsReply, Status> {
        self.accounts.remove(jid).map_err(|error| refused(&error))?;
        self.renew_card(mailbox).await?;
        Ok(self.list())
    }

    /// The session of this account, or of the first that has one.
    pub async fn client(&self, jid: Option<&str>) -> Result<ClientHandle, Status> {
        let (answer, client) = oneshot::channel();
        let jid = jid.map(str::to_owned);
        let stopping = || Status::unavailable("the daemon is stopping");
        self.uplink.send(UplinkCommand::Client { jid, answer }).map_err(|_| stopping())?;
        let client = client.await.map_err(|_| stopping())?;
        let text = "no account is logged in; `pigeon account login` brings one online, `pigeon status` says what is wrong";
        client.ok_or_else(|| Status::failed_precondition(text))
    }

    /// The card lists the accounts.
    async fn renew_card(&self, mailbox: &Mailbox) -> Result<(), Status> {
        mailbox.refresh().await.map(|_renewed| ()).map_err(|error| status_of(&error))
    }
}

fn refused(error: &AccountError) -> Status {
    let code = match error {
        AccountError::Unknown { .. } => Code::NotFound,
        AccountError::Exists { .. } => Code::AlreadyExists,
        AccountError::TooMany => Code::ResourceExhausted,
        AccountError::Configured { .. } => Code::FailedPrecondition,
        AccountError::Jid { .. } | AccountError::Bridge { .. } | AccountError::Password => {
            Code::InvalidArgument
        }
        AccountError::PasswordFile { .. }
        | AccountError::NoPassword { .. }
        | AccountError::Key(_)
        | AccountError::Damaged => Code::Internal,
    };
    Status::new(code, error.to_string())
}

fn not_registered(error: &RegisterError) -> Status {
    let code = match error {
        RegisterError::Config(_) => Code::InvalidArgument,
        RegisterError::Taken { .. } => Code::AlreadyExists,
        _ => Code::FailedPrecondition,
    };
    Status::new(code, error.to_string())
}
