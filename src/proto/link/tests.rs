use ulid::Ulid;

use super::*;

fn id(number: u64) -> CallId {
    CallId::new(
        "acme".parse().unwrap(),
        "n1".parse().unwrap(),
        Ulid::from_parts(number, 1),
    )
}

fn call(number: u64) -> Candidate {
    Candidate {
        call: id(number),
        answered: true,
        sides_known: true,
        agent: Agent {
            address: Some("4711@pbx".parse().unwrap()),
            tag: Some("alice".to_owned()),
        },
    }
}

fn link(confirmation: Confirmation) -> Link {
    Link::new(Finder::Agent("4711".parse().unwrap()), confirmation)
}

/// Draws the same number again and again.
fn same(number: u16) -> impl FnMut() -> u16 {
    move || number
}

#[test]
fn a_code_is_four_digits_and_reads_back() {
    assert_eq!(SpokenCode::of(42).digits(), [0, 0, 4, 2]);
    assert_eq!(SpokenCode::of(9_999).digits(), [9, 9, 9, 9]);
    assert_eq!("0042".parse(), Ok(SpokenCode::of(42)));
    for text in ["", "42", "00042", "004a", "٤٢٤٢", "-042", "+042"] {
        assert_eq!(text.parse::<SpokenCode>(), Err(SpokenCodeError), "{text}");
    }
    assert!(!format!("{:?}", SpokenCode::of(4_242)).contains("42"));
    let kept = serde_json::to_string(&SpokenCode::of(42)).unwrap();
    assert_eq!(kept, "\"0042\"");
    assert_eq!(
        serde_json::from_str::<SpokenCode>(&kept).unwrap(),
        SpokenCode::of(42)
    );
}

#[test]
fn the_only_answered_call_that_fits_is_confirmed_where_a_match_will_do() {
    let now = Instant::now();
    let mut link = link(Confirmation::Match);
    assert_eq!(link.look(&[], now), LinkState::Looking);
    let ringing = Candidate {
        answered: false,
        ..call(1)
    };
    assert_eq!(link.look(&[ringing], now), LinkState::Looking);
    assert_eq!(link.look(&[call(1), call(2)], now), LinkState::Several(2));
    assert_eq!(link.look(&[call(2)], now), LinkState::Confirmed(id(2)));
    // What comes up later changes nothing.
    assert_eq!(
        link.look(&[call(1), call(2)], now),
        LinkState::Confirmed(id(2))
    );
}

#[test]
fn where_the_code_is_asked_for_one_call_alone_confirms_nothing() {
    let now = Instant::now();
    let mut link = link(Confirmation::Code);
    assert_eq!(link.look(&[call(1)], now), LinkState::Found(id(1)));
    assert_eq!(
        link.confirm(&[call(1)], SpokenCode::of(7), now),
        Err(LinkError::NotReading)
    );
    let read = link.read_out(&[call(1)], same(7), now).unwrap();
    assert_eq!(read, [(id(1), SpokenCode::of(7))]);
    assert_eq!(link.look(&[call(1)], now), LinkState::Reading);
    assert_eq!(link.confirm(&[call(1)], SpokenCode::of(7), now), Ok(id(1)));
    assert_eq!(link.look(&[call(1)], now), LinkState::Confirmed(id(1)));
    assert_eq!(
        link.read_out(&[call(1)], same(7), now),
        Err(LinkError::Confirmed)
    );
}

#[test]
fn of_several_calls_each_hears_its_own_code_and_the_typed_one_tells_which_it_is() {
    let now = Instant::now();
    let up = [call(1), call(2), call(3)];
    let mut link = link(Confirmation::Match);
    let read = link.read_out(&up, same(9_999), now).unwrap();
    let codes: Vec<_> = read.iter().map(|(_, code)| code.digits()).collect();
    assert_eq!(codes, [[9, 9, 9, 9], [0, 0, 0, 0], [0, 0, 0, 1]]);
    assert_eq!(link.confirm(&up, read[1].1, now), Ok(id(2)));
    let many: Vec<_> = (1..=5).map(call).collect();
    assert_eq!(
        self::link(Confirmation::Code).read_out(&many, same(1), now),
        Err(LinkError::TooMany(5))
    );
}

#[test]
fn three_wrong_codes_end_a_link_for_good() {
    let now = Instant::now();
    let up = [call(1)];
    let mut link = link(Confirmation::Code);
    link.read_out(&up, same(7), now).unwrap();
    for left in [2, 1] {
        assert_eq!(
            link.confirm(&up, SpokenCode::of(8), now),
            Err(LinkError::WrongCode(left))
        );
    }
    // A new reading gives no new tries.
    let later = now + READING_PAUSE;
    link.read_out(&up, same(9), later).unwrap();
    let ended = Err(LinkError::Ended(LinkEnd::WrongCodes));
    assert_eq!(link.confirm(&up, SpokenCode::of(8), later), ended);
    assert_eq!(link.confirm(&up, SpokenCode::of(9), later), ended);
    assert_eq!(link.look(&up, later), LinkState::Ended(LinkEnd::WrongCodes));
}

#[test]
fn a_code_is_good_for_a_minute_and_readings_keep_a_distance() {
    let now = Instant::now();
    let up = [call(1)];
    let mut link = link(Confirmation::Code);
    link.read_out(&up, same(7), now).unwrap();
    assert_eq!(
        link.read_out(&up, same(8), now + READING_PAUSE / 2),
        Err(LinkError::TooSoon(6))
    );
    let late = now + CODE_LASTS + Duration::from_millis(1);
    assert_eq!(
        link.confirm(&up, SpokenCode::of(7), late),
        Err(LinkError::NotReading)
    );
    assert_eq!(link.look(&up, late), LinkState::Found(id(1)));
    // The last reading's code counts, and no earlier one's.
    link.read_out(&up, same(8), late).unwrap();
    link.read_out(&up, same(9), late + READING_PAUSE).unwrap();
    let typed =
        |link: &mut Link, code| link.confirm(&up, SpokenCode::of(code), late + READING_PAUSE);
    assert_eq!(typed(&mut link, 8), Err(LinkError::WrongCode(2)));
    assert_eq!(typed(&mut link, 9), Ok(id(1)));
}

#[test]
fn a_link_ends_with_its_call_or_when_another_agent_has_it() {
    let now = Instant::now();
    let confirmed = || {
        let mut link = link(Confirmation::Match);
        assert_eq!(link.look(&[call(1)], now), LinkState::Confirmed(id(1)));
        link
    };
    let mut link = confirmed();
    assert_eq!(link.look(&[], now), LinkState::Ended(LinkEnd::CallEnded));
    // It does not come back with a call that comes back.
    assert_eq!(
        link.look(&[call(1)], now),
        LinkState::Ended(LinkEnd::CallEnded)
    );
    for agent in [
        Agent {
            address: Some("4712@pbx".parse().unwrap()),
            tag: Some("alice".to_owned()),
        },
        Agent {
            address: Some("4711@pbx".parse().unwrap()),
            tag: Some("bob".to_owned()),
        },
        Agent {
            address: None,
            tag: Some("alice".to_owned()),
        },
    ] {
        let moved = Candidate { agent, ..call(1) };
        assert_eq!(
            confirmed().look(&[moved], now),
            LinkState::Ended(LinkEnd::AgentChanged)
        );
    }
}

#[test]
fn a_code_that_was_read_to_an_agent_who_is_gone_confirms_nothing() {
    let now = Instant::now();
    let mut link = link(Confirmation::Code);
    let read = link.read_out(&[call(1), call(2)], same(7), now).unwrap();
    let moved = Candidate {
        agent: Agent {
            address: None,
            tag: None,
        },
        ..call(1)
    };
    let up = [moved, call(2)];
    assert_eq!(
        link.confirm(&up, read[0].1, now),
        Err(LinkError::WrongCode(2))
    );
    assert_eq!(link.confirm(&up, read[1].1, now), Ok(id(2)));
}

#[test]
fn nothing_is_read_to_an_end_that_may_be_the_callers() {
    let now = Instant::now();
    let unknown = Candidate {
        sides_known: false,
        ..call(1)
    };
    let mut link = link(Confirmation::Code);
    assert_eq!(
        link.read_out(std::slice::from_ref(&unknown), same(7), now),
        Err(LinkError::AgentUnknown)
    );
    let read = link.read_out(&[unknown, call(2)], same(7), now).unwrap();
    assert_eq!(read, [(id(2), SpokenCode::of(7))]);
    assert_eq!(
        self::link(Confirmation::Code).read_out(&[], same(7), now),
        Err(LinkError::NoCall)
    );
}
