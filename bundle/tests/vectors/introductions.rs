//! Introduction in person: `docs/wire-format.md` section 2.

use pigeon_bundle::{Answered, Committed};
use serde_json::json;

use super::common::Person;
use super::{Recorded, compare, hex};

#[test]
fn both_sides_show_the_code_and_the_cards_of_the_vector() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let binding = [0xb1; 32];
    let (mut first_random, mut second_random) = (Recorded::new("first"), Recorded::new("second"));
    let (first, commitment) = Committed::start(&elaine.card, &binding, &mut first_random);
    let (second, reveal_of_second) =
        Answered::answer(&jerry.card, &binding, &commitment, &mut second_random).unwrap();
    let (at_first, reveal_of_first) = first.receive(&reveal_of_second).unwrap();
    let at_second = second.receive(&reveal_of_first).unwrap();
    let code = at_first.code();
    assert_eq!(code, at_second.code());
    let (first, card_of_first) = at_first.codes_are_the_same();
    let (second, card_of_second) = at_second.codes_are_the_same();
    assert_eq!(first.receive(&card_of_second).unwrap(), jerry.card);
    assert_eq!(second.receive(&card_of_first).unwrap(), elaine.card);
    compare(
        "introduction.json",
        &json!({
            "comment": "Section 2. What each side draws is its salt, then its nonce.",
            "binding": hex(binding),
            "first_card": hex(elaine.card.as_bytes()),
            "second_card": hex(jerry.card.as_bytes()),
            "first_drawn": hex(&first_random.drawn),
            "second_drawn": hex(&second_random.drawn),
            "commitment": hex(commitment),
            "second_reveal": hex(reveal_of_second),
            "first_reveal": hex(reveal_of_first),
            "code": code,
            "first_shown": hex(&*card_of_first),
            "second_shown": hex(&*card_of_second),
        }),
    );
}
