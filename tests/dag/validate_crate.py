"""Validate a crate by roc-validator without network: `validate_crate.py FOLDER` prints what breaks the profile as JSON.

Runs in an environment with roc-validator and rocrate. The contexts of JSON-LD, which the web would give, come from
rocrate: it has that of RO-Crate 1.3, and 1.1 has other addresses for four terms.
"""

import json
import sys
from pathlib import Path

import rdflib.plugins.shared.jsonld.context
import rocrate
from rocrate_validator import models, services
from rocrate_validator.utils.http import HttpRequester

BIOSCHEMAS = "https://bioschemas.org"
OF_1_1 = {
    "ComputationalWorkflow": f"{BIOSCHEMAS}/ComputationalWorkflow",
    "FormalParameter": f"{BIOSCHEMAS}/FormalParameter",
    "input": f"{BIOSCHEMAS}/ComputationalWorkflow#input",
    "output": f"{BIOSCHEMAS}/ComputationalWorkflow#output",
}
SHIPPED = json.loads((Path(rocrate.__file__).parent / "data/ro-crate.jsonld").read_text(encoding="utf-8"))
CONTEXTS = {
    "https://w3id.org/ro/crate/1.1/context": SHIPPED["@context"] | OF_1_1,
    "https://w3id.org/ro/terms/workflow-run/context": {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"},
}


class Answer:
    """What the web would answer."""

    status_code = 200

    def __init__(self, address):
        self.content = {"@context": CONTEXTS[address]}
        self.headers = {"Content-Type": "application/ld+json"}

    def json(self):
        return self.content


HttpRequester.get = lambda self, address, **_: Answer(address)
rdflib.plugins.shared.jsonld.context.source_to_json = lambda address: (Answer(str(address)).content, None)

settings = services.ValidationSettings(
    rocrate_uri=Path(sys.argv[1]),
    profile_identifier="provenance-run-crate",
    requirement_severity=models.Severity.REQUIRED,
)
result = services.validate(settings)
print(json.dumps([issue.message for issue in result.get_issues()]))
