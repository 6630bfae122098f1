"""XML from strangers, read without entities, which could expand beyond any memory."""

import xml.etree.ElementTree as ElementTree
from xml.parsers import expat


def parse_xml(content: bytes) -> ElementTree.Element:
    """The root of an XML document. Raises ValueError where it is none, or declares a document type."""
    try:
        guard = expat.ParserCreate()
        guard.StartDoctypeDeclHandler = _refuse_doctype
        guard.Parse(content, True)
        return ElementTree.fromstring(content)
    # LookupError: of an encoding that does not exist
    except (ElementTree.ParseError, expat.ExpatError, LookupError) as error:
        raise ValueError(str(error)) from None


def _refuse_doctype(*_: object) -> None:
    raise ValueError("a document type declaration, which no file of this kind has")
