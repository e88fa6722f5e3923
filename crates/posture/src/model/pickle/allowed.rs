//! Names that a pickle may import: what makes numbers, arrays and containers, and runs nothing else.

/// Whether calling `module.name` with any arguments only makes data.
pub(super) fn is_harmless(module: &str, name: &str) -> bool {
    match module {
        "torch" => {
            name.ends_with("Storage") && name.bytes().all(|byte| byte.is_ascii_alphabetic())
                || TORCH.contains(&name)
        }
        "torch.cuda" => {
            name.ends_with("Storage") && name.bytes().all(|byte| byte.is_ascii_alphabetic())
        }
        _ => HARMLESS
            .iter()
            .any(|(modules, names)| modules.contains(&module) && names.contains(&name)),
    }
}

/// Whether `module.name` is known to run commands or code, or to find whatever it is told.
pub(super) fn runs_code(module: &str, name: &str) -> bool {
    let top = module.split('.').next().unwrap_or(module);
    let last = name.rsplit('.').next().unwrap_or(name);
    RUNNERS.contains(&top)
        || matches!(
            module,
            "torch.hub" | "torch.storage" | "torch.serialization" | "numpy.testing._private.utils"
        )
        || matches!(
            last,
            "eval"
                | "exec"
                | "execfile"
                | "compile"
                | "__import__"
                | "getattr"
                | "setattr"
                | "open"
                | "input"
                | "system"
                | "popen"
                | "Popen"
                | "import_module"
                | "resolve_name"
                | "load"
                | "loads"
                | "apply"
                | "breakpoint"
                | "globals"
                | "vars"
                | "delattr"
        )
}

/// Of `torch` itself, beside its storages.
const TORCH: &[&str] = &[
    "Size",
    "device",
    "dtype",
    "Tensor",
    "float16",
    "float32",
    "float64",
    "bfloat16",
    "half",
    "float",
    "double",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "bool",
    "complex64",
    "complex128",
    "float8_e4m3fn",
    "float8_e5m2",
    "per_tensor_affine",
    "per_channel_affine",
    "qint8",
    "quint8",
    "qint32",
    "strided",
    "sparse_coo",
];

type Names = &'static [&'static str];

const HARMLESS: &[(Names, Names)] = &[
    (
        &["collections"],
        &["OrderedDict", "defaultdict", "deque", "Counter"],
    ),
    (
        &["builtins", "__builtin__"],
        &[
            "set",
            "frozenset",
            "dict",
            "list",
            "tuple",
            "int",
            "long",
            "float",
            "bool",
            "str",
            "unicode",
            "bytes",
            "bytearray",
            "complex",
            "slice",
            "range",
            "xrange",
            "object",
        ],
    ),
    (
        &["torch._utils"],
        &[
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_tensor_v3",
            "_rebuild_parameter",
            "_rebuild_parameter_with_state",
            "_rebuild_qtensor",
            "_rebuild_sparse_tensor",
            "_rebuild_meta_tensor_no_storage",
            "_rebuild_device_tensor_from_numpy",
        ],
    ),
    (&["torch._tensor"], &["_rebuild_from_type_v2"]),
    (&["torch.storage"], &["UntypedStorage", "TypedStorage"]),
    (&["torch.nn.parameter"], &["Parameter", "Buffer"]),
    (&["torch.serialization"], &["_get_layout"]),
    (&["numpy"], &["dtype", "ndarray"]),
    (
        &["numpy.core.multiarray", "numpy._core.multiarray"],
        &["_reconstruct", "scalar"],
    ),
    (
        &["numpy.core.numeric", "numpy._core.numeric"],
        &["_frombuffer"],
    ),
    (&["_codecs"], &["encode"]),
    (&["copyreg", "copy_reg"], &["_reconstructor"]),
    (
        &["datetime"],
        &["datetime", "date", "time", "timedelta", "timezone"],
    ),
    (&["decimal"], &["Decimal"]),
    (&["fractions"], &["Fraction"]),
    (&["argparse"], &["Namespace"]),
];

/// Modules of which no name belongs in a model.
const RUNNERS: &[&str] = &[
    "os",
    "posix",
    "nt",
    "ntpath",
    "posixpath",
    "subprocess",
    "commands",
    "sys",
    "pty",
    "platform",
    "runpy",
    "code",
    "codeop",
    "importlib",
    "imp",
    "pkgutil",
    "socket",
    "ssl",
    "ctypes",
    "_ctypes",
    "marshal",
    "types",
    "operator",
    "_operator",
    "functools",
    "_functools",
    "shutil",
    "webbrowser",
    "http",
    "urllib",
    "urllib2",
    "requests",
    "httpx",
    "aiohttp",
    "ftplib",
    "smtplib",
    "imaplib",
    "poplib",
    "telnetlib",
    "nntplib",
    "xmlrpc",
    "asyncio",
    "threading",
    "multiprocessing",
    "signal",
    "timeit",
    "cProfile",
    "profile",
    "pdb",
    "bdb",
    "trace",
    "doctest",
    "idlelib",
    "pip",
    "setuptools",
    "distutils",
    "ensurepip",
    "venv",
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "io",
    "_io",
    "tempfile",
    "pathlib",
    "glob",
    "fileinput",
    "linecache",
    "inspect",
    "gc",
    "uuid",
    "ast",
    "builtins",
    "__builtin__",
    "fickling",
    "picklescan",
    "modelscan",
    "logging",
    "sqlite3",
    "lib2to3",
    "mailcap",
    "getpass",
    "_osx_support",
    "_aix_support",
    "sysconfig",
    "zipimport",
    "zipapp",
    "py_compile",
    "compileall",
    "site",
];
