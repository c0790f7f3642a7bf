//! The suite we seal with against the values that RFC 9180 prints for it (appendix A.2.1).

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand_core::{TryCryptoRng, TryRng};
use std::convert::Infallible;

use super::{hex, stored, unhex};

type X25519 = X25519HkdfSha256;

/// Gives exactly the vector's `ikmE`, once.
struct Given(Option<Vec<u8>>);

impl TryRng for Given {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("HPKE asks for bytes only");
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("HPKE asks for bytes only");
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0.take().unwrap());
        Ok(())
    }
}

impl TryCryptoRng for Given {}

#[test]
fn base_mode_gives_the_published_values() {
    let vector = stored("rfc9180.json");
    let (info, bytes) = (unhex(&vector["info"]), |name: &str| unhex(&vector[name]));
    let public = <X25519 as Kem>::PublicKey::from_bytes(&bytes("pkRm")).unwrap();
    let mut random = Given(Some(bytes("ikmE")));
    let (enc, mut sender) = hpke::setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519>(
        &OpModeS::Base,
        &public,
        &info,
        &mut random,
    )
    .unwrap();
    assert_eq!(hex(enc.to_bytes()), vector["enc"]);
    let secret = <X25519 as Kem>::PrivateKey::from_bytes(&bytes("skRm")).unwrap();
    let mut receiver =
        hpke::setup_receiver::<ChaCha20Poly1305, HkdfSha256, X25519>(&OpModeR::Base, &secret, &enc, &info)
            .unwrap();
    let encryptions = vector["encryptions"].as_array().unwrap();
    assert!(!encryptions.is_empty());
    let mut sequence = 0;
    for encryption in encryptions {
        // The RFC prints some of the sequence: what lies between is sealed and opened too.
        while sequence < encryption["sequence"].as_u64().unwrap() {
            receiver.open(&sender.seal(b"", b"").unwrap(), b"").unwrap();
            sequence += 1;
        }
        let (plaintext, aad) = (unhex(&encryption["pt"]), unhex(&encryption["aad"]));
        let ciphertext = sender.seal(&plaintext, &aad).unwrap();
        assert_eq!(hex(&ciphertext), encryption["ct"], "sequence {sequence}");
        assert_eq!(receiver.open(&ciphertext, &aad).unwrap(), plaintext);
        sequence += 1;
    }
    for export in vector["exports"].as_array().unwrap() {
        let mut out = [0; 32];
        receiver.export(&unhex(&export["exporter_context"]), &mut out).unwrap();
        assert_eq!(hex(out), export["exported_value"]);
    }
}
