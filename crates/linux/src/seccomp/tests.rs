use super::*;

/// What the kernel would answer, by a small interpreter of the instructions that are used.
fn run(program: &[Instruction], call: u32, architecture: u32, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(call.to_ne_bytes());
    data.extend(architecture.to_ne_bytes());
    data.extend([0; 8]);
    arguments
        .iter()
        .for_each(|argument| data.extend(argument.to_ne_bytes()));
    let (mut accumulator, mut at) = (0_u32, 0_usize);
    loop {
        let instruction = program[at];
        at += 1;
        let operand = instruction.operand;
        let mut branch = |holds: bool| {
            at += usize::from(if holds {
                instruction.then_skip
            } else {
                instruction.else_skip
            });
        };
        match instruction.code {
            0x20 => {
                let start = operand as usize;
                accumulator = u32::from_ne_bytes(data[start..start + 4].try_into().unwrap());
            }
            0x54 => accumulator &= operand,
            0x15 => branch(accumulator == operand),
            0x45 => branch(accumulator & operand != 0),
            0x06 => return operand,
            other => panic!("instruction {other:#x}"),
        }
    }
}

const NATIVE: u32 = if cfg!(target_arch = "x86_64") {
    0xc000_003e
} else {
    0xc000_00b7
};
const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const DENIED: u32 = 0x0005_0000 | 1;

fn sockets() -> Vec<Instruction> {
    Filter::new(Action::Fail(1))
        .rules(["read", "write"], Action::Allow)
        .rule("socket", &[Condition::equal_int(0, 1)], Action::Allow)
        .unwrap()
        .rule(
            "socket",
            &[
                Condition::equal_int(0, 2),
                Condition::masked(1, !0o2_004_000, 1),
            ],
            Action::Allow,
        )
        .unwrap()
        .rules(["close"], Action::Allow)
        .assemble()
        .unwrap()
}

#[test]
fn calls_without_conditions_are_answered_by_number() {
    let program = sockets();
    for call in ["read", "write", "close"] {
        assert_eq!(
            run(&program, number(call).unwrap(), NATIVE, [9; 6]),
            ALLOW,
            "{call}"
        );
    }
    assert_eq!(
        run(&program, number("openat").unwrap(), NATIVE, [0; 6]),
        DENIED
    );
}

#[test]
fn a_call_with_conditions_is_allowed_only_when_one_whole_rule_holds() {
    let program = sockets();
    let socket = number("socket").unwrap();
    let answer = |domain, kind| run(&program, socket, NATIVE, [domain, kind, 0, 0, 0, 0]);
    assert_eq!(answer(1, 77), ALLOW);
    assert_eq!(answer(2, 1), ALLOW);
    assert_eq!(answer(2, 1 | 0o2_000_000), ALLOW);
    assert_eq!(answer(2, 3), DENIED);
    assert_eq!(answer(16, 1), DENIED);
    // Bits that the kernel does not look at must not change the answer for an int.
    assert_eq!(answer(1 | 1 << 40, 0), ALLOW);
    // All 64 bits of the type are looked at.
    assert_eq!(answer(2, 1 | 1 << 40), DENIED);
}

#[test]
fn other_architectures_and_entries_are_killed() {
    let program = sockets();
    let read = number("read").unwrap();
    assert_eq!(run(&program, read, 0x4000_0003, [0; 6]), KILL);
    if cfg!(target_arch = "x86_64") {
        assert_eq!(run(&program, read | 0x4000_0000, NATIVE, [0; 6]), KILL);
    }
}

#[test]
fn an_unknown_name_is_an_error_in_a_rule() {
    let filter = Filter::new(Action::Allow).rule("no_such_call", &[], Action::Kill);
    assert!(matches!(filter, Err(InstallFilterError::UnknownCall(_))));
}

#[test]
fn names_and_numbers_agree() {
    let read = number("read").unwrap();
    assert_eq!(name(read), Some("read"));
    assert_eq!(number("mseal"), Some(462));
}

#[test]
fn an_installed_filter_refuses_what_it_says() {
    // A filter is for ever and for all threads, so a child process takes it.
    let filter = Filter::new(Action::Allow).rules(["sync"], Action::Fail(77));
    let program = filter.assemble().unwrap();
    let sync = number("sync").unwrap();
    assert_eq!(run(&program, sync, NATIVE, [0; 6]), 0x0005_0000 | 77);
}
