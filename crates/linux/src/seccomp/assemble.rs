//! From rules to classic BPF.

use super::{Action, Condition, InstallFilterError, Rule};

/// One instruction of classic BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many instructions to skip if a comparison holds.
    pub then_skip: u8,
    /// How many instructions to skip if it does not.
    pub else_skip: u8,
    /// Its constant.
    pub operand: u32,
}

pub(super) fn assemble(
    otherwise: Action,
    rules: &[Rule],
) -> Result<Vec<Instruction>, InstallFilterError> {
    let mut program = vec![
        load(ARCHITECTURE_OFFSET),
        jump(JUMP_EQUAL, NATIVE_ARCHITECTURE, 1, 0),
        answer(Action::Kill),
        load(NUMBER_OFFSET),
    ];
    if cfg!(target_arch = "x86_64") {
        // x32 calls come by the native architecture with this bit set.
        program.extend([jump(JUMP_SET, X32_BIT, 0, 1), answer(Action::Kill)]);
    }
    for block in blocks(rules) {
        let body = body(&block, otherwise);
        let Some(first) = block.first() else { continue };
        let length =
            u8::try_from(body.len()).map_err(|_| InstallFilterError::TooManyRules(first.call))?;
        program.push(jump(JUMP_EQUAL, first.call, 0, length));
        program.extend(body);
    }
    program.push(answer(otherwise));
    if program.len() > LONGEST {
        Err(InstallFilterError::TooLong(program.len()))
    } else {
        Ok(program)
    }
}

/// The rules of each call together, calls in the order of their first rule, rules in theirs.
fn blocks(rules: &[Rule]) -> Vec<Vec<&Rule>> {
    let mut blocks: Vec<Vec<&Rule>> = Vec::new();
    let mut places = std::collections::BTreeMap::new();
    for rule in rules {
        let place = *places.entry(rule.call).or_insert_with(|| {
            blocks.push(Vec::new());
            blocks.len() - 1
        });
        if let Some(block) = blocks.get_mut(place) {
            block.push(rule);
        }
    }
    blocks
}

fn body(block: &[&Rule], otherwise: Action) -> Vec<Instruction> {
    let mut body = Vec::new();
    for rule in block {
        body.extend(conditional(&rule.conditions, rule.action));
    }
    // A rule without conditions has answered; else the accumulator has lost the number by now.
    body.push(answer(otherwise));
    body
}

/// Instructions that answer if all conditions hold, and else fall off their end.
fn conditional(conditions: &[Condition], action: Action) -> Vec<Instruction> {
    let mut backwards = vec![answer(action)];
    for condition in conditions.iter().rev() {
        let high = half(condition.mask >> 32, condition.value >> 32);
        let low = half(condition.mask, condition.value);
        let offset = ARGUMENTS_OFFSET + u32::from(condition.argument) * 8;
        for (half, at) in [(high, offset + HIGH), (low, offset + LOW)] {
            if half.0 == 0 && half.1 == 0 {
                continue;
            }
            // Each failing comparison jumps to the end of what is there already.
            let rest = u8::try_from(backwards.len()).unwrap_or(u8::MAX);
            backwards.push(jump(JUMP_EQUAL, half.1, 0, rest));
            if half.0 != u32::MAX {
                backwards.push(Instruction {
                    code: AND,
                    then_skip: 0,
                    else_skip: 0,
                    operand: half.0,
                });
            }
            backwards.push(load(at));
        }
    }
    backwards.reverse();
    backwards
}

/// The lower halves of a mask and a value.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half is what is wanted"
)]
const fn half(mask: u64, value: u64) -> (u32, u32) {
    (mask as u32, value as u32)
}

const fn load(offset: u32) -> Instruction {
    Instruction {
        code: LOAD,
        then_skip: 0,
        else_skip: 0,
        operand: offset,
    }
}

const fn jump(code: u16, operand: u32, then_skip: u8, else_skip: u8) -> Instruction {
    Instruction {
        code,
        then_skip,
        else_skip,
        operand,
    }
}

const fn answer(action: Action) -> Instruction {
    let operand = match action {
        Action::Allow => 0x7fff_0000,
        Action::Log => 0x7ffc_0000,
        Action::Fail(number) => 0x0005_0000 | number as u32,
        Action::Kill => 0x8000_0000,
    };
    Instruction {
        code: RETURN,
        then_skip: 0,
        else_skip: 0,
        operand,
    }
}

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_SET: u16 = 0x45;
const RETURN: u16 = 0x06;
const LONGEST: usize = 4096;

/// Where `struct seccomp_data` has its parts.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;
const ARGUMENTS_OFFSET: u32 = 16;
const HIGH: u32 = if cfg!(target_endian = "little") { 4 } else { 0 };
const LOW: u32 = if cfg!(target_endian = "little") { 0 } else { 4 };

const X32_BIT: u32 = 0x4000_0000;

#[cfg(target_arch = "x86_64")]
const NATIVE_ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE_ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("seccomp filters are known for x86_64 and aarch64 only");
