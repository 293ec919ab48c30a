"""Whether SQL means the same in DataFusion and in Athena (Trino), as far as its text can say.

Reads one JSON object a line, {"name": …, "sql": …}, and answers each with {"name": …, "wrong": [reasons]}. The parser is sqlglot's
for Trino; since it forgives much, whatever it would write differently counts as written for another dialect.
"""

import json
import re
import sys

import sqlglot
from sqlglot import exp

# Functions and expressions that both manuals describe alike. Look a new one up in both before it is added.
SHARED = {
    "And", "Or", "Case", "If", "Cast", "Coalesce", "Nullif", "Count", "Sum", "Avg", "Min", "Max", "Round", "Abs", "Lower", "Upper",
    "ArraySize", "SplitPart", "TimestampTrunc", "RowNumber", "Rank", "DenseRank", "PercentRank", "Lag", "Lead",
}


def words(text):
    return [token.text.lower() for token in sqlglot.tokenize(text, read="trino")]


def wrong(sql):
    try:
        trees = [tree for tree in sqlglot.parse(sql, read="trino", error_level=sqlglot.ErrorLevel.RAISE) if tree]
    except sqlglot.errors.SqlglotError as error:
        return [f"no Trino: {error}"]
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        return ["not one query"]
    tree, found = trees[0], []
    for node in tree.find_all(exp.Anonymous):
        found.append(f"not known to Trino: {node.name}")
    for node in tree.find_all(exp.Func):
        if not isinstance(node, exp.Anonymous) and type(node).__name__ not in SHARED:
            found.append(f"not known to be shared: {type(node).__name__}")
    for node in tree.find_all(exp.Literal):
        if not node.is_string and "." in node.name and "e" not in node.name.lower():
            found.append(f"decimal in Trino, double in DataFusion: {node.name}")
    try:
        back = tree.sql(dialect="trino", comments=False, normalize_functions="lower", unsupported_level=sqlglot.ErrorLevel.RAISE)
    except sqlglot.errors.SqlglotError as error:
        return found + [f"no Trino: {error}"]
    # What it always writes in its own way, and which means the same: in Trino, NULL comes last unless it is told otherwise.
    sql = re.sub(r"([\w.]+) is not null", r"not \1 is null", sql, flags=re.IGNORECASE)
    sql = re.sub(r"\bnulls last\b", "", sql, flags=re.IGNORECASE)
    if words(sql) != words(back):
        found.append(f"Trino would write: {back}")
    return found


for line in sys.stdin:
    question = json.loads(line)
    print(json.dumps({"name": question["name"], "wrong": wrong(question["sql"])}))
