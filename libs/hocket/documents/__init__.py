"""Reading what offices send: mails, PDFs, scans, HTML, text; for built-in engines and for a user's own alike."""
