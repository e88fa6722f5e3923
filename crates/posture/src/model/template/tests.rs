use super::*;

fn first(text: &str) -> Option<String> {
    gadgets(text).into_iter().next().map(|(_, what)| what)
}

#[test]
fn ways_out_of_the_sandbox_are_found() {
    for text in [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ lipsum['__globals__'] }}",
        "{{ messages|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
        "{{ messages | attr(name) }}",
        "{{ self._TemplateReference__context }}",
        "{%- include '/etc/passwd' -%}",
        "{{ namespace['__init__'] }}",
        "text {{ messages[0]['content'] }} {{ x.__globals__ ",
    ] {
        assert!(first(text).is_some(), "{text}");
    }
}

#[test]
fn templates_of_real_models_pass() {
    for text in [
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}{% endfor %}",
        "{%- set ns = namespace(first=true) -%}{%- if ns.first -%}{{- bos_token -}}{%- endif -%}",
        "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }}",
        "Use __init__ and self.x in Python {# {{ x.__class__ }} #}",
        "{{ 'Write def __init__(self): in each class. import os' }}",
        "{{ raise_exception('Conversation roles must alternate') }}{%- macro f(self_name) -%}{%- endmacro -%}",
        "{{ tools | tojson(indent=4) }} { not: 'code' }",
        "{{ message.self }} {{ strftime_now('%d %b %Y') }}",
    ] {
        assert_eq!(first(text), None, "{text}");
    }
}

#[test]
fn the_place_is_that_of_the_word() {
    let text = "a\n{{ x }}\n{{ y.__class__ }}";
    let (start, _) = gadgets(text).remove(0);
    assert_eq!(text.get(start..start + 9), Some("__class__"));
}

#[test]
fn any_text_ends() {
    for text in ["{{", "{%", "{{ '", "{{ \\", "{#", "{{{{{%%{#", "{{ é'\\"] {
        gadgets(text);
    }
}
