//! Introduction in person: `docs/wire-format.md` section 2.

use pigeon_bundle::{Answered, Committed};
use serde_json::json;

use super::common::Person;
use super::{Recorded, compare, hex};

#[test]
fn both_sides_show_the_code_of_the_vector() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let binding = [0xb1; 32];
    let (mut first_random, mut second_random) = (Recorded::new("first"), Recorded::new("second"));
    let (first, commitment) = Committed::start(&elaine.card, &binding, &mut first_random);
    let (second, reveal_of_second) =
        Answered::answer(&jerry.card, &binding, &commitment, &mut second_random).unwrap();
    let (at_first, reveal_of_first) = first.receive(&reveal_of_second).unwrap();
    let at_second = second.receive(&reveal_of_first).unwrap();
    assert_eq!(at_first.code(), at_second.code());
    compare(
        "introduction.json",
        &json!({
            "binding": hex(binding),
            "first_card": hex(elaine.card.as_bytes()),
            "second_card": hex(jerry.card.as_bytes()),
            "first_nonce": hex(&first_random.drawn),
            "second_nonce": hex(&second_random.drawn),
            "commitment": hex(commitment),
            "second_reveal": hex(&*reveal_of_second),
            "first_reveal": hex(&*reveal_of_first),
            "code": at_first.code(),
        }),
    );
}
