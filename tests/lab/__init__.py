# The lab: real wheels, interpreters, environments, controllers and SSH nodes for the tests and the demo.
