//! What form a file has, told by its first bytes and only then by its name, and what is wrong with it.

use std::io::{Read, Seek};

use super::pickle::{self, Verdict};
use super::{archive, bytes, gguf, safetensors};

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Safetensors,
    Gguf,
    Pickle,
    Hdf5,
    Onnx,
    Numpy,
    /// An ELF, PE or Mach-O program or library, or a llamafile.
    Program,
    /// A text that names the program which runs it, or one for a shell.
    Script,
    Python,
    /// Anything else.
    Text,
}

impl Form {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Gguf => "gguf",
            Self::Pickle => "pickle",
            Self::Hdf5 => "hdf5",
            Self::Onnx => "onnx",
            Self::Numpy => "numpy",
            Self::Program => "program",
            Self::Script => "script",
            Self::Python => "python",
            Self::Text => "text",
        }
    }
}

/// What was seen of a file.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) form: Form,
    /// What is wrong with it, or what loading it runs.
    pub(super) faults: Vec<String>,
    /// `safe`, `unsafe`, `attack` or `not analysable`, for what may hold a pickle.
    pub(super) verdict: Option<&'static str>,
    pub(super) templates: Vec<(String, String)>,
    pub(super) license: Option<String>,
}

impl Examined {
    const fn of(form: Form) -> Self {
        Self {
            form,
            faults: Vec::new(),
            verdict: None,
            templates: Vec::new(),
            license: None,
        }
    }

    /// Whether nothing in it is ever reported.
    pub(super) const fn is_plain(&self) -> bool {
        matches!(self.form, Form::Text)
    }
}

/// Whether a file of this name holds weights.
pub(super) fn is_weights_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let Some((stem, end)) = lower.rsplit_once('.') else {
        return false;
    };
    match end {
        "safetensors" | "gguf" | "pt" | "pth" | "ckpt" | "pkl" | "pickle" | "h5" | "keras"
        | "onnx" | "joblib" | "nemo" => true,
        // `.bin` is used for everything; these are what model hubs hold.
        "bin" => [
            "pytorch_model",
            "model",
            "adapter_model",
            "training_args",
            "diffusion_pytorch_model",
            "optimizer",
        ]
        .iter()
        .any(|start| stem.starts_with(start)),
        _ => false,
    }
}

/// Looks at a file of `length` bytes named `name`.
pub(super) fn examine<S: Read + Seek>(source: &mut S, length: u64, name: &str) -> Examined {
    let head = bytes::stretch(source, 0, 256).unwrap_or_default();
    let lower = name.to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|end| lower.ends_with(end));
    let named_pickle = ends(&[
        ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill",
    ]);
    if head.starts_with(b"GGUF") || ends(&[".gguf"]) {
        let header = gguf::read(source, length);
        return Examined {
            faults: header.faults,
            templates: header.templates,
            license: header.license,
            ..Examined::of(Form::Gguf)
        };
    }
    if ends(&[".safetensors"]) || looks_like_safetensors(&head, length) {
        return Examined {
            faults: safetensors::faults(source, length),
            ..Examined::of(Form::Safetensors)
        };
    }
    if head.starts_with(b"PK\x03\x04") && (named_pickle || ends(&[".bin", ".npz", ".keras"])) {
        return judged(zipped(source, length));
    }
    if head.starts_with(&[0x89]) && head.get(1..4) == Some(b"HDF") {
        return Examined::of(Form::Hdf5);
    }
    if head.starts_with(b"\x93NUMPY") {
        let objects = String::from_utf8_lossy(&head).contains("'|O");
        let verdict = objects.then(|| Verdict::Unsafe {
            attack: false,
            reasons: vec!["it is an array of objects, which are a pickle".to_owned()],
        });
        return Examined {
            form: Form::Numpy,
            ..judged(verdict.unwrap_or(Verdict::Safe))
        };
    }
    if is_program(&head)
        || ends(&[".so", ".dll", ".dylib", ".exe", ".llamafile"])
        || lower.contains(".so.")
    {
        return Examined::of(Form::Program);
    }
    if matches!(head.as_slice(), [0x80, 2..=5, ..])
        || named_pickle
        || (ends(&[".bin"]) && is_text_pickle(&head))
    {
        return judged(plain(source, length));
    }
    if ends(&[".py"]) {
        return Examined::of(Form::Python);
    }
    if head.starts_with(b"#!") || ends(&[".sh", ".bash", ".bat", ".cmd", ".ps1"]) {
        return Examined::of(Form::Script);
    }
    if ends(&[".onnx"]) {
        return Examined::of(Form::Onnx);
    }
    Examined::of(Form::Text)
}

fn judged(verdict: Verdict) -> Examined {
    let (word, faults) = match verdict {
        Verdict::Safe => ("safe", Vec::new()),
        Verdict::Unsafe {
            attack: true,
            reasons,
        } => ("attack", reasons),
        Verdict::Unsafe {
            attack: false,
            reasons,
        } => ("unsafe", reasons),
        Verdict::NotAnalysable(why) => ("not analysable", vec![why]),
    };
    Examined {
        faults,
        verdict: Some(word),
        ..Examined::of(Form::Pickle)
    }
}

/// A pickle that is the whole file.
fn plain<S: Read + Seek>(source: &mut S, length: u64) -> Verdict {
    if archive::ends_here(source, length) {
        return Verdict::NotAnalysable(
            "it is a pickle and an archive at once: loaders disagree".to_owned(),
        );
    }
    let old_torch = bytes::stretch(source, 0, 32).is_ok_and(|head| {
        head.windows(4)
            .any(|bytes| bytes == [0x6c, 0xfc, 0x9c, 0x46])
    });
    // Behind the pickles of the old form come the tensors, as large as they are.
    if length > MAX_PICKLE && !old_torch {
        return Verdict::NotAnalysable(format!(
            "it has {length} bytes; at most {MAX_PICKLE} are read"
        ));
    }
    match bytes::stretch(source, 0, MAX_PICKLE) {
        Ok(bytes) => pickle::judge(&bytes),
        Err(error) => Verdict::NotAnalysable(error.to_string()),
    }
}

/// The pickles in an archive.
fn zipped<S: Read + Seek>(source: &mut S, length: u64) -> Verdict {
    let members = match archive::members(source, length) {
        Ok(members) => members,
        Err(why) => return Verdict::NotAnalysable(why),
    };
    let mut verdict = Verdict::Safe;
    for member in &members {
        let code = ["/code/", "code/"]
            .iter()
            .any(|part| member.name.contains(part))
            && member.name.ends_with(".py");
        let next = if code {
            Verdict::Unsafe {
                attack: false,
                reasons: vec![format!(
                    "`{}` is a compiled program (TorchScript) that loading runs",
                    member.name
                )],
            }
        } else if [".pkl", ".pickle"]
            .iter()
            .any(|end| member.name.ends_with(end))
        {
            match archive::unpack(source, member, MAX_PICKLE) {
                Ok(bytes) => pickle::judge(&bytes),
                Err(why) => Verdict::NotAnalysable(why),
            }
        } else if member.name.ends_with(".npy") {
            match archive::unpack(source, member, MAX_PICKLE) {
                Ok(bytes) if objects(&bytes) => {
                    pickle::judge(bytes.get(data_of(&bytes)..).unwrap_or(&[]))
                }
                Ok(_) => Verdict::Safe,
                // Arrays of numbers may be as large as they like; what they are stands at their start.
                Err(_) => Verdict::Safe,
            }
        } else {
            Verdict::Safe
        };
        verdict = worse(verdict, next);
    }
    verdict
}

fn objects(array: &[u8]) -> bool {
    let head = array.get(..array.len().min(256)).unwrap_or(&[]);
    String::from_utf8_lossy(head).contains("'|O")
}

/// Where the bytes of an array start, behind its header.
fn data_of(array: &[u8]) -> usize {
    match array.get(6..10) {
        Some([1, _, low, high]) => 10 + usize::from(u16::from_le_bytes([*low, *high])),
        _ => 12,
    }
}

fn worse(one: Verdict, other: Verdict) -> Verdict {
    let rank = |verdict: &Verdict| match verdict {
        Verdict::Safe => 0,
        Verdict::NotAnalysable(_) => 1,
        Verdict::Unsafe { attack: false, .. } => 2,
        Verdict::Unsafe { attack: true, .. } => 3,
    };
    if rank(&other) > rank(&one) {
        other
    } else {
        one
    }
}

fn looks_like_safetensors(head: &[u8], length: u64) -> bool {
    let size = head
        .get(..8)
        .and_then(|bytes| <[u8; 8]>::try_from(bytes).ok())
        .map(u64::from_le_bytes);
    size.is_some_and(|size| size > 1 && size < 100_000_000 && size < length)
        && head.get(8..10) == Some(b"{\"")
}

fn is_program(head: &[u8]) -> bool {
    head.starts_with(b"\x7fELF")
        || head.starts_with(b"MZ")
        || matches!(
            head.get(..4),
            Some(
                [0xfe, 0xed, 0xfa, 0xce | 0xcf]
                    | [0xce | 0xcf, 0xfa, 0xed, 0xfe]
                    | [0xca, 0xfe, 0xba, 0xbe]
            )
        )
}

/// Pickles of protocol 0 are text: an import or a mark, and instructions on lines of their own.
fn is_text_pickle(head: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    let lines: Vec<&[u8]> = head.split(|byte| *byte == b'\n').take(3).collect();
    match lines.as_slice() {
        [first, second, _] => {
            let first = first.strip_prefix(b"(").unwrap_or(first);
            let module = first
                .strip_prefix(b"c")
                .or_else(|| first.strip_prefix(b"i"));
            module.is_some_and(|name| !name.is_empty() && name.iter().all(is_name))
                && !second.is_empty()
                && second.iter().all(is_name)
        }
        _ => false,
    }
}

/// How much of a pickle is walked through.
const MAX_PICKLE: u64 = 64 * 1024 * 1024;
