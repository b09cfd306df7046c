"""What a person reads after a run: HTML, markdown, JUnit, tables and pictures."""
