//! This is components that are made to cost a compiler time or memory, or a node what it has, byte
//! by byte: no tool would write them.

/// What a bomb is made to do to who takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// To keep a compiler busy for minutes.
    Time,
    /// To make a compiler need gigabytes.
    Memory,
    /// To be refused only once it runs, or by what is looked at first.
    Other,
}

/// A component, what it is made to do, and its name.
pub struct Bomb {
    /// What it is called.
    pub name: &'static str,
    /// What it is made to do.
    pub harm: Harm,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

const MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const BLOCK: [u8; 2] = [0x02, 0x40];
const LOOP: [u8; 2] = [0x03, 0x40];
const IF: [u8; 4] = [0x41, 0, 0x04, 0x40];
const CALL: [u8; 2] = [0x10, 0];
const END: [u8; 1] = [0x0b];

fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], &number(content.len())[..], content].concat()
}

/// So many times the same.
fn list(count: usize, item: &[u8]) -> Vec<u8> {
    [number(count), item.repeat(count)].concat()
}

fn function(locals: &[u8], code: &[u8]) -> Vec<u8> {
    let body = [locals, code, &END].concat();
    [number(body.len()), body].concat()
}

/// A module of so many functions that are all the same; the first begins at once if it `starts`.
fn functions(count: usize, function: &[u8], starts: bool) -> Vec<u8> {
    let start = if starts { section(8, &[0]) } else { Vec::new() };
    [
        MODULE,
        &section(1, &[1, 0x60, 0, 0]),
        &section(3, &list(count, &[0])),
        &section(5, &[1, 0, 1]),
        &start,
        &section(10, &list(count, function)),
    ]
    .concat()
}

fn one_function(code: &[u8]) -> Vec<u8> {
    hollow(&functions(1, &function(&[0], code), false))
}

fn starting(code: &[u8]) -> Vec<u8> {
    hollow(&functions(1, &function(&[0], code), true))
}

/// What makes of component sections a validator without functions: the last of `instances`.
fn exporting(instances: u8) -> Vec<u8> {
    let name = "soros:policy/validator@1.0.0";
    let name = [&number(name.len()), name.as_bytes()].concat();
    let export = [&[1, 0], &name[..], &[5, instances, 0]].concat();
    [section(5, &[1, 1, 0]), section(11, &export)].concat()
}

/// A component that makes an instance of this module.
fn hollow(module: &[u8]) -> Vec<u8> {
    let parts = [section(1, module), section(2, &[1, 0, 0, 0])].concat();
    [COMPONENT, &parts, &exporting(0)].concat()
}

/// Each component makes two instances of the one within, so that the innermost is made 2^`depth`
/// times.
fn doubling(depth: usize) -> Vec<u8> {
    let module = functions(1, &function(&[0], &[]), false);
    let parts = [section(1, &module), section(2, &[1, 0, 0, 0])].concat();
    let mut inner = [COMPONENT, &parts].concat();
    for _ in 0..depth {
        let twice = section(5, &[2, 0, 0, 0, 0, 0, 0]);
        inner = [COMPONENT, &section(4, &inner), &twice].concat();
    }
    let once = section(5, &[1, 0, 0, 0]);
    [COMPONENT, &section(4, &inner), &once, &exporting(1)].concat()
}

fn nested(depth: usize) -> Vec<u8> {
    let mut inner = COMPONENT.to_vec();
    for _ in 0..depth {
        inner = [COMPONENT, &section(4, &inner)].concat();
    }
    [inner, exporting(0)].concat()
}

/// Pairs of pairs: the last type is 2^`depth` numbers.
fn pairs(depth: usize) -> Vec<u8> {
    let mut types = [number(depth + 1), vec![0x79]].concat();
    for before in 0..depth {
        types.extend([&[0x6f, 2], &number(before)[..], &number(before)].concat());
    }
    [COMPONENT, &section(7, &types), &exporting(0)].concat()
}

fn of_compiling() -> Vec<(&'static str, Harm, Vec<u8>)> {
    let nest = |each: &[u8], count| [each.repeat(count), END.repeat(count)].concat();
    let table = [
        &[0x41, 0, 0x0e],
        &number(7_000_000)[..],
        &vec![0; 7_000_001],
    ];
    let many_locals = function(&[&[1][..], &number(50_000), &[0x7b]].concat(), &[]);
    let loops = [&LOOP[..], &[0x41, 0, 0x0d, 0], &END].concat();
    let types = [MODULE, &section(1, &list(1_000_000, &[0x60, 0, 0]))].concat();
    vec![
        (
            "blocks in blocks",
            Harm::Time,
            one_function(&nest(&BLOCK, 2_400_000)),
        ),
        (
            "functions of many locals",
            Harm::Time,
            hollow(&functions(20_000, &many_locals, false)),
        ),
        (
            "ifs in ifs",
            Harm::Memory,
            one_function(&nest(&IF, 1_200_000)),
        ),
        (
            "a huge function",
            Harm::Memory,
            one_function(&CALL.repeat(3_500_000)),
        ),
        (
            "a million functions",
            Harm::Memory,
            hollow(&functions(900_000, &function(&[0], &[]), false)),
        ),
        (
            "a million loops",
            Harm::Memory,
            one_function(&loops.repeat(1_000_000)),
        ),
        (
            "components in components, twice each",
            Harm::Memory,
            doubling(24),
        ),
        (
            "a giant table of branches",
            Harm::Other,
            one_function(&table.concat()),
        ),
        ("a million types", Harm::Other, hollow(&types)),
        ("pairs of pairs of types", Harm::Other, pairs(60)),
        ("components in components", Harm::Other, nested(20_000)),
    ]
}

fn of_running() -> Vec<(&'static str, Harm, Vec<u8>)> {
    let grow = [&LOOP[..], &[0x41, 1, 0x40, 0, 0x1a, 0x0c, 0], &END].concat();
    let memory = [
        MODULE,
        &section(5, &[&[1, 0], &number(65_536)[..]].concat()),
    ];
    let table = [&[1, 0x70, 0], &number(10_000_000)[..]].concat();
    let table = [MODULE, &section(4, &table)];
    vec![
        ("a memory of 4 GiB", Harm::Other, hollow(&memory.concat())),
        (
            "a table of ten million",
            Harm::Other,
            hollow(&table.concat()),
        ),
        (
            "a start without end",
            Harm::Other,
            starting(&[&LOOP[..], &[0x0c, 0], &END].concat()),
        ),
        ("a start that grows", Harm::Other, starting(&grow)),
        ("a start that calls itself", Harm::Other, starting(&CALL)),
        ("no function at all", Harm::Other, hollow(MODULE)),
    ]
}

/// All of them.
#[must_use]
pub fn bombs() -> Vec<Bomb> {
    let all = of_compiling().into_iter().chain(of_running());
    all.map(|(name, harm, bytes)| Bomb { name, harm, bytes })
        .collect()
}
