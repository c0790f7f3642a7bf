//! What a seed decides before anything happens: how many nodes, who is slow, who lies, who meets whom and when, who
//! writes to whom, and how rough the world is.

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

use crate::liars::Lie;
use crate::support::pool::{Message, RECIPIENTS, dying, message};

/// Nodes of a town.
pub const TOWN: usize = 50;
/// Contacts of an office, for towns that do not meet at random.
const OFFICE: &str = include_str!("office.txt");
/// Messages for one recipient; the last one expires while the world is rough.
const NUMBERS: usize = crate::support::pool::MESSAGES + 1;

/// The seeded dice of a simulation.
#[derive(Debug, Clone)]
pub struct Dice(ChaCha12Rng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        Self(ChaCha12Rng::from_seed(bytes))
    }

    /// A number in `0..below`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0.next_u64() % below.max(1)
    }

    pub fn index(&mut self, below: usize) -> usize {
        usize::try_from(self.below(below as u64)).unwrap()
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn bytes(&mut self) -> [u8; 32] {
        let mut out = [0; 32];
        self.0.fill_bytes(&mut out);
        out
    }
}

/// One message to be written.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    pub at_ms: u64,
    pub author: usize,
    pub recipient: usize,
    number: usize,
    /// Copies at birth, if not as many as ever.
    pub copies: Option<u8>,
}

impl Written {
    pub fn message(&self) -> &'static Message {
        if self.expires() { dying(self.recipient) } else { message(self.recipient, self.number) }
    }

    /// It may be too late before it arrives.
    pub fn expires(&self) -> bool {
        self.number + 1 == NUMBERS
    }
}

/// What is wrong with a node's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    Right,
    None,
    /// Seconds fast; slow if negative.
    Wrong(i64),
}

/// Two nodes come into each other's sight.
#[derive(Debug, Clone, Copy)]
pub struct Meeting {
    pub at_ms: u64,
    pub length_ms: u64,
    pub ends: [usize; 2],
}

/// Something that happens to one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Crash,
    /// The uplink comes or goes.
    Uplink,
    /// The battery is nearly empty, or charged again.
    Battery,
}

/// The world of one seed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the world does from here on.
    pub dice: Dice,
    pub nodes: usize,
    pub written: Vec<Written>,
    pub meetings: Vec<Meeting>,
    pub fates: Vec<(u64, usize, Fate)>,
    /// Length of the rough part.
    pub rough_ms: u64,
    pub frame_delay_ms_max: u64,
    /// Frames that are lost and sent again, which takes a while.
    pub loss_percent: u64,
    /// Of a link, in each direction.
    pub bytes_per_ms: u64,
    pub commit_delay_ms_max: u64,
    pub damage_per_mille: u64,
    pub commit_failure_per_mille: u64,
    pub reveal_delay_ms_max: u64,
    /// Nodes are seen only by who looks for them.
    pub windows: bool,
    /// Nodes with hardly room for their own mail.
    pub small: Vec<bool>,
    pub clocks: Vec<Clock>,
    pub liars: Vec<Option<Lie>>,
    /// Recipients hold their messages from the beginning, twice.
    pub twins: bool,
}

impl Plan {
    /// A few nodes that meet all the time; of 25 seeds one is a town, two are ladders and two twins.
    pub fn of(seed: u64) -> Self {
        match seed % 25 {
            7 => Self::town(seed),
            12 | 20 => Self::ladder(seed),
            3 | 15 => Self::twins(seed),
            _ => Self::few(seed),
        }
    }

    /// Nodes that are ever better connected meet one after the other, and a last copy has to go only so far.
    pub fn ladder(seed: u64) -> Self {
        const STEPS: usize = 7;
        const STEP_MS: u64 = 20_000;
        let mut dice = Dice::new(seed);
        let step_of = |node: usize| 5_000 + node as u64 * STEP_MS;
        let meeting = |node| Meeting { at_ms: step_of(node), length_ms: STEP_MS, ends: [node, node + 1] };
        let meetings: Vec<Meeting> = (1..STEPS - 1).map(meeting).collect();
        let recipient = 0;
        let number = [2, 5][dice.index(2)];
        let mut plan = Self::rough(dice, STEPS, step_of(STEPS), 0, meetings);
        plan.written = vec![Written { at_ms: 1_000, author: 1, recipient, number, copies: Some(1) }];
        plan.clocks.fill(Clock::Right);
        plan.liars.fill(None);
        plan.small.fill(false);
        // Node n has had n windows of an uplink.
        let windows =
            (1..STEPS).flat_map(|node| (0..2 * node).map(move |n| (500 + n as u64, node, Fate::Uplink)));
        plan.fates = windows.collect();
        plan
    }

    /// A recipient starts with a message and a variant of it, both not opened yet.
    pub fn twins(seed: u64) -> Self {
        const MET_MS: u64 = 20_000;
        let mut dice = Dice::new(seed);
        let number = [0, 1, 3][dice.index(3)];
        let meeting = |carrier| Meeting { at_ms: 5_000, length_ms: MET_MS, ends: [0, carrier] };
        let mut plan = Self::rough(dice, 3, 2 * MET_MS, 0, vec![meeting(1), meeting(2)]);
        plan.written = vec![Written { at_ms: 1_000, author: 1, recipient: 0, number, copies: None }];
        plan.twins = true;
        plan.clocks.fill(Clock::Right);
        plan.fates.clear();
        plan
    }

    /// Three to six nodes.
    pub fn few(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let nodes = 3 + dice.index(4);
        let rough_ms = 60_000 + dice.below(240_000);
        let messages = 3 + dice.index(9);
        let every_ms = 1_000 + dice.below(8_000);
        let length_ms_max = 200 + dice.below(20_000);
        let meetings = random_meetings(&mut dice, nodes, rough_ms, every_ms, length_ms_max);
        let mut plan = Self::rough(dice, nodes, rough_ms, messages, meetings);
        plan.windows = plan.dice.percent(20);
        plan
    }

    /// Fifty nodes; in every second town they meet like the people of an office.
    pub fn town(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let rough_ms = 300_000;
        let messages = 10 + dice.index(20);
        let meetings = if dice.percent(50) {
            office()
        } else {
            let (every_ms, length_ms_max) = (500 + dice.below(1_500), 2_000 + dice.below(30_000));
            random_meetings(&mut dice, TOWN, rough_ms, every_ms, length_ms_max)
        };
        let mut plan = Self::rough(dice, TOWN, rough_ms, messages, meetings);
        plan.windows = plan.dice.percent(50);
        plan
    }

    fn rough(mut dice: Dice, nodes: usize, rough_ms: u64, messages: usize, meetings: Vec<Meeting>) -> Self {
        let small: Vec<bool> = (0..nodes).map(|_| dice.percent(40)).collect();
        let liar_percent = if dice.percent(40) { 30 } else { 0 };
        let liars: Vec<Option<Lie>> = (0..nodes)
            .map(|node| (node >= 3 && dice.percent(liar_percent)).then(|| Lie::any(&mut dice)))
            .collect();
        let (crash_percent, uplink_percent) = (dice.below(12), dice.below(60));
        let mut fates = Vec::new();
        for meeting in &meetings {
            let node = meeting.ends[1];
            for (percent, fate) in
                [(crash_percent, Fate::Crash), (uplink_percent, Fate::Uplink), (1, Fate::Battery)]
            {
                if dice.percent(percent) {
                    fates.push((meeting.at_ms, node, fate));
                }
            }
        }
        Self {
            nodes,
            written: mail(&mut dice, rough_ms, messages, &small, &liars),
            meetings,
            fates,
            rough_ms,
            frame_delay_ms_max: 1 + dice.below(300),
            loss_percent: dice.below(4),
            bytes_per_ms: 20 + dice.below(2_000),
            commit_delay_ms_max: 1 + dice.below(400),
            damage_per_mille: dice.below(20),
            commit_failure_per_mille: if dice.percent(20) { 20 } else { 0 },
            reveal_delay_ms_max: if dice.percent(50) { 0 } else { dice.below(20_000) },
            windows: false,
            small,
            clocks: (0..nodes).map(|_| clock(&mut dice)).collect(),
            liars,
            twins: false,
            dice,
        }
    }

    /// The same people at the same places, all of them honest and healthy except `lies` of those that write and receive
    /// nothing, in turn of all kinds.
    pub fn town_with_liars(seed: u64, lies: usize) -> Self {
        let mut plan = Self::town(seed);
        plan.rough_ms = 600_000;
        plan.meetings = random_meetings(&mut plan.dice, TOWN, plan.rough_ms, 350, 20_000);
        plan.bytes_per_ms = 1_000;
        plan.frame_delay_ms_max = 50;
        plan.commit_delay_ms_max = 50;
        plan.windows = false;
        plan.clocks.fill(Clock::Right);
        plan.liars.fill(None);
        for (number, node) in (TOWN - lies..TOWN).enumerate() {
            plan.liars[node] = Some(Lie::ALL[number % Lie::ALL.len()]);
        }
        let all = vec![false; TOWN];
        plan.written = mail(&mut plan.dice, plan.rough_ms, 36, &all, &plan.liars);
        plan.written.retain(|written| written.author < TOWN - lies && !written.expires());
        plan
    }

    /// A clock that is wrong by days makes others' mail expire, and misleads who has none.
    pub fn days_are_wrong(&self) -> bool {
        self.clocks.iter().any(|clock| matches!(clock, Clock::Wrong(error_s) if error_s.abs() > 43_000))
    }
}

fn clock(dice: &mut Dice) -> Clock {
    match dice.below(100) {
        0..12 => Clock::None,
        12..18 => Clock::Wrong(i64::try_from(dice.below(7_200)).unwrap() - 3_600),
        18..20 => Clock::Wrong((i64::try_from(dice.below(40)).unwrap() - 20) * 86_400),
        _ => Clock::Right,
    }
}

fn mail(
    dice: &mut Dice,
    rough_ms: u64,
    messages: usize,
    small: &[bool],
    liars: &[Option<Lie>],
) -> Vec<Written> {
    let mut written: Vec<Written> = Vec::new();
    let honest: Vec<usize> = (0..small.len()).filter(|node| liars[*node].is_none()).collect();
    let recipients: Vec<usize> = honest.iter().copied().filter(|node| *node < RECIPIENTS).collect();
    let cramped: Vec<usize> = honest.iter().copied().filter(|node| small[*node]).collect();
    for _ in 0..messages {
        let recipient = recipients[dice.index(recipients.len())];
        // Where the store is small, large mail late in the day makes it too small.
        let author = dice.percent(40).then(|| dice.index(cramped.len().max(1)));
        let (author, number, at_ms) = match author.and_then(|at| cramped.get(at).copied()) {
            Some(author) => (author, NUMBERS - 2, rough_ms / 2 + dice.below(rough_ms / 2)),
            None => (honest[dice.index(honest.len())], dice.index(NUMBERS), dice.below(rough_ms / 2)),
        };
        if !written.iter().any(|other| (other.recipient, other.number) == (recipient, number)) {
            written.push(Written { at_ms, author, recipient, number, copies: None });
        }
    }
    written
}

fn random_meetings(
    dice: &mut Dice,
    nodes: usize,
    rough_ms: u64,
    every_ms: u64,
    length_ms_max: u64,
) -> Vec<Meeting> {
    let mut meetings = Vec::new();
    let mut at_ms = 10;
    while at_ms < rough_ms {
        let ends = [dice.index(nodes), dice.index(nodes)];
        if ends[0] != ends[1] {
            meetings.push(Meeting { at_ms, length_ms: 1 + dice.below(length_ms_max), ends });
        }
        at_ms += 1 + dice.below(every_ms * 2);
    }
    meetings
}

fn office() -> Vec<Meeting> {
    let lines = OFFICE.lines().filter(|line| !line.starts_with('#'));
    let meeting = |line: &str| {
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        let ends = [numbers[2], numbers[3]].map(|node| usize::try_from(node).unwrap());
        Meeting { at_ms: numbers[0] + 10, length_ms: numbers[1], ends }
    };
    lines.map(meeting).collect()
}
