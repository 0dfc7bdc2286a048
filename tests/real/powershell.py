"""Whether PowerShell would read a script: by its grammar alone, since no PowerShell runs here.

    python3 powershell.py FILE
"""

import sys
from pathlib import Path

import tree_sitter
import tree_sitter_powershell


def wrong(node: tree_sitter.Node) -> list[str]:
    own = [f"line {node.start_point[0] + 1}: {node.text.decode()[:80]}"] if node.is_error or node.is_missing else []
    return own + [line for child in node.children for line in wrong(child)]


if __name__ == "__main__":
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    if lines := wrong(parser.parse(Path(sys.argv[1]).read_bytes()).root_node):
        sys.exit("\n".join(lines))
