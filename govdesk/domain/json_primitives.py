"""Rules of a grammar (GBNF): what JSON consists of, and the formats of texts that a grammar can promise."""

from __future__ import annotations

PRIMITIVES = {
    "value": "object | array | string | number | boolean | null",
    "object": '"{" ( string ": " value ( ", " string ": " value )* )? "}"',
    "array": '"[" ( value ( ", " value )* )? "]"',
    "string": r'"\"" char* "\""',
    "char": r'[^"\\\x00-\x1F\x7F] | "\\" ( ["\\bfnrt/] | "u" code )',
    # one character of JSON: what is no surrogate, or both halves of a pair
    "code": r'[0-9a-cefA-CEF] hex{3} | [dD] ( [0-7] hex{2} | [89abAB] hex{2} "\\u" [dD] [c-fC-F] hex{2} )',
    "hex": "[0-9a-fA-F]",
    "integer": '"-"? ( "0" | [1-9] [0-9]{0,15} )',
    "number": 'integer ( "." [0-9]{1,15} )? ( [eE] [-+]? [0-9]{1,2} )?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "date": 'year "-" day-of-any-year | leap-year "-02-29"',
    "year": '[1-9] [0-9]{3} | "0" ( [1-9] [0-9]{2} | "0" ( [1-9] [0-9] | "0" [1-9] ) )',
    "leap-year": '[0-9]{2} fourth | fourth "00"',
    "fourth": '"0" [48] | [2468] [048] | [13579] [26]',
    "day-of-any-year": 'month "-" day | long-month "-" ( "29" | "30" ) | longest-month "-31"',
    "month": '"0" [1-9] | "1" [0-2]',
    "long-month": '"0" [13-9] | "1" [0-2]',
    "longest-month": '"0" [13578] | "1" [02]',
    "day": '"0" [1-9] | "1" [0-9] | "2" [0-8]',
    "time": 'hour ":" minute ":" minute ( "Z" | [-+] hour ":" minute )',
    "hour": '[01] [0-9] | "2" [0-3]',
    "minute": "[0-5] [0-9]",
    "date-time": 'date "T" time',
    "uuid": 'hex{8} "-" hex{4} "-" hex{4} "-" hex{4} "-" hex{12}',
}
"""The rules by name; a name in a rule stands between spaces, or before `{` or `*`."""
FORMATS = frozenset({"date", "time", "date-time", "uuid"})
