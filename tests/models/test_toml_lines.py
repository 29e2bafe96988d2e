"""The line of each key, however the file is written."""

import tomllib

from models.toml_lines import lines_of_keys, spelled

WRITTEN = '''# A comment with [brackets] and """ in it

title = "one" # behind a value

[routes.chat] # the table
model = "a:b"
system = """
[routes.fake]
model = "not a key"
temperature = ]
"""
deep.inner = 1
"quoted key" = \'x\'
list = [
  1, # ]
  2,
]
small = { one = 1, two = { three = 3 } }

[[many]]
first = 1

[[many]]
second = 2
'''


def test_each_key_has_the_line_at_which_its_statement_begins() -> None:
    tomllib.loads(WRITTEN)

    assert lines_of_keys(WRITTEN) == {
        ("title",): 3,
        ("routes",): 5,
        ("routes", "chat"): 5,
        ("routes", "chat", "model"): 6,
        ("routes", "chat", "system"): 7,
        ("routes", "chat", "deep"): 12,
        ("routes", "chat", "deep", "inner"): 12,
        ("routes", "chat", "quoted key"): 13,
        ("routes", "chat", "list"): 14,
        ("routes", "chat", "small"): 18,
        ("routes", "chat", "small", "one"): 18,
        ("routes", "chat", "small", "two"): 18,
        ("routes", "chat", "small", "two", "three"): 18,
        ("many",): 20,
        ("many", "first"): 21,
        ("many", "second"): 24,
    }


def test_lines_are_counted_alike_with_carriage_returns_and_other_separators() -> None:
    text = 'a = "\u2028\u0085"\r\nb = """\r\nx\r\n"""\r\nc = 1'

    assert lines_of_keys(text) == {("a",): 1, ("b",): 2, ("c",): 5}


def test_a_key_is_spelled_as_the_file_has_it() -> None:
    assert spelled(("routes", "chat", "max_calls")) == "routes.chat.max_calls"
    assert spelled(("routes", "my route\n")) == 'routes."my route\\n"'
