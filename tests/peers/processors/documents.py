"""Holds GraphQL requests against a schema: documents and variables, with graphql-core.

    documents.py SCHEMA OPERATION... < LIST

LIST is a JSON list of requests as they were sent, of which the bodies are read; OPERATION... are all that have to be among them.
It shows of itself that it can say no: each request is spoilt in several ways, and each of these has to be
refused.
"""
import copy
import json
import sys

from graphql import NoDeprecatedCustomRule, build_schema, parse, specified_rules, validate
from graphql.execution.values import get_variable_values
from graphql.language import OperationDefinitionNode


def operation(document):
    (found,) = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return found


def faults(schema, body):
    """What the schema has against a request."""
    try:
        document = parse(body["query"])
    except Exception as error:
        return [str(error)]
    found = [str(error) for error in validate(schema, document, [*specified_rules, NoDeprecatedCustomRule])]
    if found:
        return found
    values = get_variable_values(schema, operation(document).variable_definitions, body["variables"])
    return [str(error) for error in values] if isinstance(values, list) else []


def spoilt(body):
    """The request with something wrong in it: a field, a type and a variable that are not there, variables of
    which each is missing, unknown or of another type in turn."""
    for old, new in ((" id ", " idd "), ("($input: ", "($input: X"), (": $input", ": $inputs")):
        assert old in body["query"], (old, body["query"])
        yield new, {**body, "query": body["query"].replace(old, new, 1)}
    for text, other in (("MOTO", "TELEPHONE"), ('"amount": "', '"amounts": "'), ('"number": "', '"numbers": "')):
        variables = json.dumps(body["variables"])
        if text in variables:
            yield other, {**body, "variables": json.loads(variables.replace(text, other))}
    nothing = copy.deepcopy(body)
    del nothing["variables"]["input"]
    yield "no input", nothing


def main():
    schema_file, wanted = sys.argv[1], set(sys.argv[2:])
    with open(schema_file, encoding="utf-8") as file:
        schema = build_schema(file.read())
    bodies = [json.loads(request["body"]) for request in json.load(sys.stdin)]
    seen, refused = set(), 0
    for body in bodies:
        found = faults(schema, body)
        if found:
            sys.exit(f"not valid: {body['query']}\n" + "\n".join(found))
        seen.add(operation(parse(body["query"])).name.value)
        for how, wrong in spoilt(body):
            if not faults(schema, wrong):
                sys.exit(f"{how} is taken for valid, so nothing is shown")
            refused += 1
    if seen != wanted:
        sys.exit(f"found the operations {sorted(seen)}; expected {sorted(wanted)}")
    print(f"{len(bodies)} requests of {len(seen)} operations are valid; {refused} spoilt ones are refused")


main()
