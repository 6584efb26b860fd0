"""What turns a checkout into something that runs, and later into packages. Never imported by the product."""
