"""The measurements, each one command. They print what they ran on: a figure without its machine says nothing."""
