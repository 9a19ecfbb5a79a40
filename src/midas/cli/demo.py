"""Stand-in."""
def add_parser(subparsers): subparsers.add_parser("demo")
