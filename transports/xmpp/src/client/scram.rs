//! Authentication: SCRAM (RFC 5802, RFC 7677), and nothing else unless the configuration says so for this account: no
//! server, honest or not, can talk us into sending the password.

use minidom::Element;
use sasl::client::Mechanism;
use sasl::client::mechanisms::{Plain, Scram};
use sasl::common::scram::{Sha1, Sha256};
use sasl::common::{ChannelBinding, Credentials};

use crate::limits::SCRAM_ITERATIONS_MAX;
use crate::ns;
use crate::reason::OfflineReason;
use crate::secret::Secret;
use crate::stanza::{base64, bytes_of, error};
use crate::wire::{With, el};

/// Largest SASL message from the server, bytes.
const MESSAGE_BYTES_MAX: usize = 4_096;

type Boxed = Box<dyn Mechanism + Send>;

/// An authentication in progress.
pub(super) struct Login {
    mechanism: Option<Boxed>,
    proof_sent: bool,
    verified: bool,
}

/// What to do after an element of the server.
#[derive(Debug)]
pub(super) enum Step {
    /// Send this.
    Send(Element),
    /// The server has accepted us and proved that it knows the password too.
    Done,
}

impl Login {
    /// The best of the mechanisms in `<mechanisms/>`, and the element that begins it.
    pub(super) fn begin(
        mechanisms: &Element,
        username: &str,
        password: &Secret,
        allow_plain: bool,
    ) -> Result<(Self, Element), OfflineReason> {
        let offered: Vec<String> = mechanisms
            .children()
            .filter(|child| child.is("mechanism", ns::SASL))
            .map(|mechanism| crate::stanza::short(mechanism.text()))
            .collect();
        // No channel binding: servers disagree about which kind TLS 1.3 has.
        let credentials = Credentials::default()
            .with_username(username)
            .with_password(password.expose())
            .with_channel_binding(ChannelBinding::None);
        let offers = |name: &str| offered.iter().any(|offer| offer == name);
        let mut plain = false;
        let mechanism = if offers("SCRAM-SHA-256") {
            Scram::<Sha256>::from_credentials(credentials).map(|scram| Box::new(scram) as Boxed)
        } else if offers("SCRAM-SHA-1") {
            Scram::<Sha1>::from_credentials(credentials).map(|scram| Box::new(scram) as Boxed)
        } else if allow_plain && offers("PLAIN") {
            plain = true;
            Plain::from_credentials(credentials).map(|plain| Box::new(plain) as Boxed)
        } else {
            return Err(OfflineReason::NoMechanism { offered });
        };
        let mut mechanism = mechanism.map_err(|error| protocol(&error.to_string()))?;
        let auth =
            el("auth", ns::SASL).with("mechanism", mechanism.name()).with_text(base64(&mechanism.initial()));
        // With PLAIN the server proves nothing but its certificate.
        Ok((Self { mechanism: Some(mechanism), proof_sent: plain, verified: plain }, auth))
    }

    /// Takes the server's next element.
    pub(super) async fn step(&mut self, element: &Element) -> Result<Step, OfflineReason> {
        if element.is("failure", ns::SASL) {
            return Err(failure(element));
        }
        if element.is("challenge", ns::SASL) {
            let data = data(element, "challenge")?;
            return if self.proof_sent { self.server_proof(&data) } else { self.challenge(data).await };
        }
        if element.is("success", ns::SASL) {
            if !self.verified {
                self.verify(&data(element, "success")?)?;
            }
            return Ok(Step::Done);
        }
        Err(protocol("an element that is not part of the authentication"))
    }

    async fn challenge(&mut self, data: Vec<u8>) -> Result<Step, OfflineReason> {
        check_iterations(&data)?;
        let mut mechanism = self.mechanism.take().ok_or_else(|| protocol("a second challenge"))?;
        // Thousands of rounds of hashing: not on a thread that others wait for.
        let hashing = tokio::task::spawn_blocking(move || {
            let response = mechanism.response(&data);
            (mechanism, response)
        });
        let (mechanism, response) =
            hashing.await.map_err(|_| protocol("the challenge could not be computed"))?;
        self.mechanism = Some(mechanism);
        self.proof_sent = true;
        let response = response.map_err(|error| protocol(&error.to_string()))?;
        Ok(Step::Send(el("response", ns::SASL).with_text(base64(&response))))
    }

    /// Some servers send their proof as a challenge of its own and want an empty answer.
    fn server_proof(&mut self, data: &[u8]) -> Result<Step, OfflineReason> {
        self.verify(data)?;
        Ok(Step::Send(el("response", ns::SASL)))
    }

    fn verify(&mut self, data: &[u8]) -> Result<(), OfflineReason> {
        let mechanism = self.mechanism.as_mut().ok_or_else(|| protocol("success without a challenge"))?;
        mechanism.success(data).map_err(|error| protocol(&format!("its own proof is wrong: {error}")))?;
        self.verified = true;
        Ok(())
    }
}

fn data(element: &Element, what: &'static str) -> Result<Vec<u8>, OfflineReason> {
    // "=" is how SASL writes empty data (RFC 6120 section 6.4.2).
    if element.text() == "=" {
        return Ok(Vec::new());
    }
    bytes_of(element, what, MESSAGE_BYTES_MAX).map_err(|error| protocol(&error.to_string()))
}

/// The server chooses how often we hash: a limit keeps it from keeping us busy for hours.
fn check_iterations(challenge: &[u8]) -> Result<(), OfflineReason> {
    let asked = std::str::from_utf8(challenge)
        .ok()
        .and_then(|text| text.split(',').find_map(|field| field.strip_prefix("i=")))
        .and_then(|count| count.parse::<u32>().ok());
    match asked {
        Some(1..=SCRAM_ITERATIONS_MAX) => Ok(()),
        Some(count) => Err(protocol(&format!("{count} SCRAM iterations, more than {SCRAM_ITERATIONS_MAX}"))),
        None => Err(protocol("a SCRAM challenge without a number of iterations")),
    }
}

fn failure(element: &Element) -> OfflineReason {
    let (condition, text) = error::read(element, ns::SASL);
    let detail = match text {
        Some(text) => format!("{condition}: {text}"),
        None => condition.clone(),
    };
    match condition.as_str() {
        "temporary-auth-failure" => OfflineReason::StreamEnded { detail },
        _ => OfflineReason::Auth { detail },
    }
}

fn protocol(detail: &str) -> OfflineReason {
    OfflineReason::Protocol { detail: format!("authentication: {detail}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::parse_element;

    fn mechanisms(names: &[&str]) -> Element {
        names.iter().fold(el("mechanisms", ns::SASL), |all, name| {
            all.child(el("mechanism", ns::SASL).with_text(*name))
        })
    }

    fn begin(names: &[&str]) -> Result<(Login, Element), OfflineReason> {
        Login::begin(&mechanisms(names), "user", &Secret::new("pencil"), false)
    }

    #[test]
    fn the_strongest_scram_is_chosen_and_nothing_else_ever() {
        let chosen =
            |names: &[&str]| begin(names).map(|(_, auth)| auth.attr("mechanism").unwrap().to_owned());
        assert_eq!(chosen(&["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"]).unwrap(), "SCRAM-SHA-256");
        assert_eq!(chosen(&["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"]).unwrap(), "SCRAM-SHA-1");
        let expected =
            OfflineReason::NoMechanism { offered: vec!["PLAIN".to_owned(), "ANONYMOUS".to_owned()] };
        assert_eq!(chosen(&["PLAIN", "ANONYMOUS"]).unwrap_err(), expected);
        // PLAIN only where it is allowed, and only for want of anything better.
        let allowed = |names: &[&str]| {
            let begun = Login::begin(&mechanisms(names), "user", &Secret::new("pencil"), true);
            begun.map(|(_, auth)| auth.attr("mechanism").unwrap().to_owned())
        };
        assert_eq!(allowed(&["PLAIN", "SCRAM-SHA-1"]).unwrap(), "SCRAM-SHA-1");
        assert_eq!(allowed(&["PLAIN"]).unwrap(), "PLAIN");
        assert!(allowed(&["ANONYMOUS"]).is_err());
    }

    #[tokio::test]
    async fn a_server_that_skips_its_proof_is_refused() {
        let (mut login, _) = begin(&["SCRAM-SHA-1"]).unwrap();
        let success = parse_element("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
        assert!(matches!(login.step(&success).await, Err(OfflineReason::Protocol { .. })));
        let (mut login, _) = begin(&["SCRAM-SHA-1"]).unwrap();
        let challenge = el("challenge", ns::SASL).with_text(base64(b"r=x,s=QSXCR+Q6sek8bf92,i=1"));
        assert!(matches!(login.step(&challenge).await, Ok(Step::Send(_))));
        let forged = el("success", ns::SASL).with_text(base64(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="));
        assert!(matches!(login.step(&forged).await, Err(OfflineReason::Protocol { .. })));
    }

    #[tokio::test]
    async fn a_server_cannot_keep_us_hashing() {
        for iterations in ["0", "500001", "4294967296", "x"] {
            let (mut login, _) = begin(&["SCRAM-SHA-1"]).unwrap();
            let text = format!("r=x,s=QSXCR+Q6sek8bf92,i={iterations}");
            let challenge = el("challenge", ns::SASL).with_text(base64(text.as_bytes()));
            assert!(
                matches!(login.step(&challenge).await, Err(OfflineReason::Protocol { .. })),
                "{iterations}"
            );
        }
    }

    #[tokio::test]
    async fn failures_name_the_condition() {
        let (mut login, _) = begin(&["SCRAM-SHA-1"]).unwrap();
        let failure = el("failure", ns::SASL).child(el("not-authorized", ns::SASL));
        let reason = login.step(&failure).await.unwrap_err();
        assert_eq!(reason, OfflineReason::Auth { detail: "not-authorized".to_owned() });
        let failure = el("failure", ns::SASL).child(el("temporary-auth-failure", ns::SASL));
        assert!(!login.step(&failure).await.unwrap_err().needs_operator());
    }
}
